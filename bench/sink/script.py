"""What the sink answers when a recipient asks for trouble: `defer+1@…`, `cut2+label@…`.

A local part `<action>[<times>]+<label>` names the action and for how many transactions with that
recipient it holds, always when no number is given.
"""

import re
from dataclasses import dataclass, field
from enum import StrEnum


class Action(StrEnum):
    ACCEPT = "accept"
    DEFER = "defer"  # 451 to RCPT
    BOUNCE = "bounce"  # 550 to RCPT
    HANG_RCPT = "hangrcpt"  # no answer to RCPT, ever
    CUT_DATA = "cutdata"  # closes when DATA comes
    DEFER_DATA = "deferdata"  # 451 after the dot
    BOUNCE_DATA = "bouncedata"  # 554 after the dot
    HANG = "hang"  # takes the message and never answers
    CUT = "cut"  # takes the message and closes without an answer


AT_RCPT = frozenset({Action.DEFER, Action.BOUNCE, Action.HANG_RCPT})
TAKES_MESSAGE = frozenset({Action.ACCEPT, Action.HANG, Action.CUT})
NAMES = frozenset(action.value for action in Action)
ASKED = re.compile(r"([a-z]+)(\d*)\+")


@dataclass(slots=True)
class Script:
    """Answers by recipient; rules set while running go before what the local part asks."""

    rules: dict[str, Action] = field(default_factory=dict)  # by domain, or "*" for all
    spent: dict[str, int] = field(default_factory=dict)

    def action(self, recipient: str) -> Action:
        """What this recipient's transaction meets next. `spend` it where it is applied."""
        if self.rules:
            domain = recipient.rpartition("@")[2]
            rule = self.rules.get(domain) or self.rules.get("*")
            if rule:
                return rule
        local = recipient.partition("@")[0]
        return self.asked(recipient, local) if "+" in local else Action.ACCEPT

    def asked(self, recipient: str, local: str) -> Action:
        match = ASKED.match(local)
        if not match or match[1] not in NAMES:
            return Action.ACCEPT
        if match[2] and self.spent.get(recipient, 0) >= int(match[2]):
            return Action.ACCEPT
        return Action(match[1])

    def spend(self, recipient: str) -> None:
        if "+" in recipient:
            self.spent[recipient] = self.spent.get(recipient, 0) + 1

    def rule(self, scope: str, action: Action) -> None:
        """Answer so for a domain, or `*`; `accept` for `*` ends the rule of every scope."""
        if action is Action.ACCEPT and scope == "*":
            self.rules.clear()
        elif action is Action.ACCEPT:
            self.rules.pop(scope, None)
        else:
            self.rules[scope] = action
