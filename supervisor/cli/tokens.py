"""``xcore token``: API tokens for the HTTP admin interface."""

import sys
from enum import StrEnum
from typing import Annotated

import typer

from supervisor.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption, Target, UrlOption
from supervisor.cli.output import moment, print_json, print_table

app = typer.Typer(help="API tokens for the HTTP admin interface.", no_args_is_help=True)


class Role(StrEnum):
    """What a token may do: nothing here (user), read (admin, root), everything (superadmin)."""

    USER = "user"
    ADMIN = "admin"
    ROOT = "root"
    SUPERADMIN = "superadmin"


@app.command()
def create(
    role: Annotated[Role, typer.Option("--role", help="What it may do.")],
    name: Annotated[str, typer.Option("--name", help="Who or what it is for; a name is used once.")],
    expires: Annotated[int | None, typer.Option("--expires", min=1, help="Days until it ends.", metavar="DAYS")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
    url: UrlOption = "",
) -> None:
    """Make a token and print it: it is shown this once and never again."""
    token = Target(config, url).call("tokens.create", name=name, role=role.value, expires_days=expires)
    if json:
        print_json(token)
    else:
        sys.stdout.write(f"{token['token']}\n")


@app.command("list")
def list_tokens(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False, url: UrlOption = "") -> None:
    """List the tokens that are not revoked, expired ones too; not their text."""
    tokens = Target(config, url).call("tokens.list")
    if json:
        print_json(tokens)
        return
    rows = [(t["id"], t["name"], t["role"], moment(t["created"]), moment(t["expires"])) for t in tokens]
    print_table(("ID", "NAME", "ROLE", "CREATED", "EXPIRES"), rows, "There are no tokens.")


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(help="The token's id or name.")],
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
    url: UrlOption = "",
) -> None:
    """End a token at once."""
    Target(config, url).call("tokens.revoke", id=name)
    if json:
        print_json({"revoked": name})
