"""Scripted misbehaviour of the sink by recipient: `defer+1@…`, `cut2+label@…`.

A local part `<action>[<times>]+<label>` names the action and the number of transactions with this
recipient that it applies to; without a number it always applies.
"""

import re
from dataclasses import dataclass, field
from enum import StrEnum


class Action(StrEnum):
    ACCEPT = "accept"
    DEFER = "defer"  # 451 to RCPT
    BOUNCE = "bounce"  # 550 to RCPT
    HANG_RCPT = "hangrcpt"  # never replies to RCPT
    CUT_DATA = "cutdata"  # closes at DATA
    DEFER_DATA = "deferdata"  # 451 after end of data
    BOUNCE_DATA = "bouncedata"  # 554 after end of data
    HANG = "hang"  # takes the message and never replies
    CUT = "cut"  # takes the message and closes without a reply


AT_RCPT = frozenset({Action.DEFER, Action.BOUNCE, Action.HANG_RCPT})
TAKES_MESSAGE = frozenset({Action.ACCEPT, Action.HANG, Action.CUT})
NAMES = frozenset(action.value for action in Action)
LOCAL_PART = re.compile(r"([a-z]+)(\d*)\+")


@dataclass(slots=True)
class Script:
    """Actions by recipient; rules set at run time take precedence over local parts."""

    rules: dict[str, Action] = field(default_factory=dict)  # by domain, or "*" for all
    spent: dict[str, int] = field(default_factory=dict)

    def action(self, recipient: str) -> Action:
        """The action for the next transaction of a recipient. Call `spend` when it is applied."""
        if self.rules:
            domain = recipient.rpartition("@")[2]
            rule = self.rules.get(domain) or self.rules.get("*")
            if rule:
                return rule
        local = recipient.partition("@")[0]
        return self._from_local_part(recipient, local) if "+" in local else Action.ACCEPT

    def _from_local_part(self, recipient: str, local: str) -> Action:
        match = LOCAL_PART.match(local)
        if not match or match[1] not in NAMES:
            return Action.ACCEPT
        if match[2] and self.spent.get(recipient, 0) >= int(match[2]):
            return Action.ACCEPT
        return Action(match[1])

    def spend(self, recipient: str) -> None:
        if "+" in recipient:
            self.spent[recipient] = self.spent.get(recipient, 0) + 1

    def rule(self, scope: str, action: Action) -> None:
        """Set the action for a domain, or `*`; `accept` for `*` removes all rules."""
        if action is Action.ACCEPT and scope == "*":
            self.rules.clear()
        elif action is Action.ACCEPT:
            self.rules.pop(scope, None)
        else:
            self.rules[scope] = action
