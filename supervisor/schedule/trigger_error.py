"""What is wrong with a trigger, for the author of its job. Pure."""


class TriggerError(ValueError):
    """``key``: dotted, within the trigger's declaration: "cron_params.hour"; ``hint``: what to write instead."""

    def __init__(self, key: str, problem: str, hint: str = "") -> None:
        super().__init__(f"{key}: {problem}; {hint}" if hint else f"{key}: {problem}")
        self.key = key
        self.problem = problem
        self.hint = hint
