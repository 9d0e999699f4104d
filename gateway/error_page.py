"""The page that a browser gets in development mode for a plugin that is not served, or raised. Pure.

Whatever a plugin says is foreign text: it goes through ``_text`` and nowhere else. Nothing is loaded from anywhere, and
only the script and the style below may run, by their hashes.
"""

import base64
import hashlib
import html
from collections.abc import Iterable, Sequence

from gateway.errors import PluginUnavailableError, RequestFailedError
from plugin_runtime.gateway_protocol import PluginTrouble

WATCH_FIELD = "x-xcore-watch"
"""Header field of a request that only wants to know whether the plugin is served, or its trouble is another one."""

STYLE = """
:root { color-scheme: light dark; --ink: #1d1d1f; --soft: #6a6a70; --line: #d8d8dc; --paper: #fff; --box: #f5f5f7;
  --bad: #b3261e; --mark: #fde8e6 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ececee; --soft: #a0a0a8; --line: #3a3a40; --paper: #18181b; --box: #222226; --bad: #ff8a80;
    --mark: #47211e } }
body { margin: 0 auto; max-width: 60rem; padding: 2rem 1.25rem 4rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif }
h1 { margin: .25rem 0; font-size: 1.6rem; color: var(--bad); overflow-wrap: anywhere }
h2 { margin: 2rem 0 .5rem; font-size: 1rem }
p, li { overflow-wrap: anywhere; white-space: pre-wrap }
pre { margin: 0; padding: .75rem 1rem; overflow: auto; max-height: 32rem; background: var(--box);
  border: 1px solid var(--line); border-radius: .5rem; font: .875rem/1.5 ui-monospace, monospace; tab-size: 4 }
pre strong { display: inline-block; min-width: 100%; background: var(--mark); font-weight: 600 }
.about { margin: 0; color: var(--soft) }
footer { margin-top: 3rem; padding-top: 1rem; border-top: 1px solid var(--line); color: var(--soft);
  font-size: .875rem }
"""

SCRIPT = """
const seen = document.documentElement.dataset.seen;
async function look() {
  try {
    const headers = {"Accept": "application/json", "X-Xcore-Watch": seen};
    const answer = await fetch(location.href, {cache: "no-store", headers});
    if (answer.status < 500) return location.reload();
    const told = await answer.json();
    if (told.type === "PluginUnavailable" && told.extension.seen !== seen) return location.reload();
  } catch (error) {
    // Gateways are replaced, too: look again.
  }
  setTimeout(look, 1000);
}
setTimeout(look, 1000);
"""


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


FIELDS = (
    (b"content-type", b"text/html; charset=utf-8"),
    (
        b"content-security-policy",
        f"default-src 'none'; script-src 'sha256-{_hash(SCRIPT)}'; style-src 'sha256-{_hash(STYLE)}'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'".encode(),
    ),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"vary", b"Accept"),
)
"""Header fields of the page."""


def page(plugin: str, state: str, error: RequestFailedError, trouble: PluginTrouble, seen: str) -> bytes:
    """Tell what is wrong and what to do. ``seen``: names what is shown; what is shown later under another is news."""
    waits = isinstance(error, PluginUnavailableError)  # whoever asks again after another failure may cause the next one
    headline = trouble.type or f"Plugin {plugin} is not served"
    news = "This page reloads itself when that changes." if waits else "Reload the page to ask again."
    name = _text(plugin)
    traceback = trouble.traceback.splitlines()
    # A guest prints its traceback as well.
    log_tail = [line for line in trouble.log_tail if line not in {*traceback, trouble.message}]
    parts = [
        f'<p class="about">plugin {name}: {_text(state)}{_text(trouble.phase and f", {trouble.phase}")}</p>',
        f"<h1>{_text(headline)}</h1>",
        f"<p>{_text(trouble.message or error.message)}</p>",
        *_advice(trouble),
        *_block("Where", trouble.excerpt, trouble.location),
        *_block("In its own code", [line for frame in trouble.frames for line in frame.splitlines()]),
        *_block("Traceback", traceback),
        *_block("Its last lines", log_tail),
        *_block("Its environment is being built", trouble.progress),
        "<footer>",
        f"<p>{news}</p>",
        f"<p>{_text(error.message)}. More: xcore plugin show {name}, xcore plugin logs {name}.</p>",
        "<p>Shown on this machine only, since xcore runs with --dev.</p>",
        "</footer>",
        f"<script>{SCRIPT}</script>" if waits else "",
    ]
    body = "\n".join(part for part in parts if part)
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{name}: {_text(state)}</title><style>{STYLE}</style>"
    )
    document = (
        f'<!doctype html>\n<html lang="en" data-seen="{_text(seen)}">\n'
        f"<head>{head}</head>\n<body>\n{body}\n</body>\n</html>\n"
    )
    return document.encode("utf-8", "replace")


def _advice(trouble: PluginTrouble) -> Iterable[str]:
    if trouble.problems:
        yield "<h2>What is wrong</h2>"
        yield f"<ul>{''.join(f'<li>{_text(problem)}</li>' for problem in trouble.problems)}</ul>"
    elif trouble.hint:
        yield "<h2>What to do</h2>"
        yield f"<p>{_text(trouble.hint)}</p>"


def _block(title: str, lines: Sequence[str], about: str = "") -> Iterable[str]:
    if lines or about:
        yield f"<h2>{title}{_text(about and f': {about}')}</h2>"
    if lines:
        yield f"<pre>{chr(10).join(_line(line) for line in lines)}</pre>"


def _line(line: str) -> str:
    # The line that an excerpt is about begins so.
    return f"<strong>{_text(line)}</strong>" if line.startswith("> ") else _text(line)


def _text(foreign: str) -> str:
    return html.escape(foreign)
