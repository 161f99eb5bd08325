"""Bounces in words: the many without an RFC 3464 part, or with one that says too little.

Their one structure: some sentences, a recipient, what the server said, then the message that came
back. The message is cut off; the rest is read recipient by recipient.
"""

import re
from collections.abc import Iterable, Sequence

from mail import html
from mail.parser import Entity, decode_text, parts, read

MAX_TEXT = 32768  # characters of explanation that are looked at

Said = tuple[int, str, str]
"""SMTP code or 0, enhanced code or "", and the text."""

AUTO_SUBJECT = re.compile(
    r"\s{0,9}(?:auto\w{0,12}(?: generated)?[ -]?(?:reply|response|antwort|antwoord|svar"
    r"|odpov\w{0,3}|odpowied\w|vastaus|v[áa]lasz)"
    r"|out of (?:the )?office|away from|on vacation|vacation|abwesenheit|afwezig|fr[åa]nvar"
    r"|r[ée]ponse automatique|respuesta autom|risposta automatica|r[ée]sposta autom|otomatik yan"
    r"|自動(?:返信|応答)|自动(?:回复|答复)|자동 ?(?:회신|응답)|автоответ|автоматический ответ)",
    re.IGNORECASE,
)
_BOUNCE_FROM = re.compile(
    r"post_?master@|mail administrator|mail\.?daemon|system administrator|microsoft ?exchange"
    r"|bounce|<>",
    re.IGNORECASE,
)
_DAEMON = re.compile(r"mailer-daemon|mail delivery (?:sub)?system|mdaemon@", re.IGNORECASE)
_BOUNCE_SUBJECT = re.compile(
    r"undeliver|deliver(?:y|ed)? .{0,40}(?:fail|status|problem|error|notif|delay|report|incomplete)"
    r"|fail(?:ure|ed)? .{0,24}(?:notice|deliver|permanent|temporar)"
    r"|returned (?:mail|message|to send)|mail (?:system )?(?:error|fail|could not)|non ?delivery"
    r"|not delivered|permanent fail"
    r"|could ?n[o']t (?:be )?(?:deliver|sent?)|nondeliverable|rejected|bounce|mail delivery",
    re.IGNORECASE,
)
# What separates the explanation from the message that came back.
_RETURNED = re.compile(
    r"^(?:[ \t]{0,9}[-=_*]{2,80}[^\n]{0,80}?(?:message|mail|header|copy|original|below)[^\n]{0,120}"
    r"|[ \t]{0,9}(?:message|your (?:original )?(?:message|mail)|original (?:message|mail)"
    r"|the message|the headers?)(?: headers?)?(?: (?:follows?|is|are|was))?"
    r"(?: (?:below|attached|follows?))?"
    r"[^\n:]{0,24}:?[ \t]*"
    r"|(?:received|return-path|dkim-signature|mime-version|message-id)[ \t]*:[^\n]*)$",
    re.IGNORECASE | re.MULTILINE,
)
_HEADING = re.compile(
    r"transcript|session|deliver|error|fail|technical|report|reason|notif|server message",
    re.IGNORECASE,
)
_ADDRESS = re.compile(
    r"[^\s<>()\[\]:;,\"'@=]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}\.){1,9}"
    r"[A-Za-z][A-Za-z0-9-]{1,62}"
)
_CODE = re.compile(
    r"(?<![\d.@-])(?<!\d:)([45]\d\d)[-:, \t][-:, \t]{0,4}"
    r"(?:#?([245]\.\d{1,3}\.\d{1,3})(?![\d.]))?"
)
_SENDMAIL = re.compile(
    r"^[45]\d\d (?:[245]\.\d+\.\d+ )?(<?[^\s<>@]{1,64}@[^\s<>]{1,255}>?)\.\.\. [^\n]*", re.MULTILINE
)
_CONTACTS = ("postmaster@", "mailer-daemon@", "abuse@", "support@")
_SAID = re.compile(
    r"<<<|said:|responded:|response was:?|returned was:|reply was|answered:|error:", re.IGNORECASE
)
_STATUS = re.compile(r"(?<![\d.])([245]\.\d{1,3}\.\d{1,3})(?![\d.])")
_COMMAND = re.compile(
    r"in reply to (?:the )?(?:end of )?([a-z]{4})|\bafter (?:end of )?(rcpt|mail|data)\b"
    r"|\[(rcpt|mail|data)[_ ]?|>>> (rcpt|mail|data|ehlo|helo|quit)\b"
    r"|sender( was rejected)|(after i sent the message)|my name( was rejected)"
    r"|(after initial connection)"
)
# One of these is in whatever the pattern matches: looking for them costs less.
_HINTS = ("in reply to", "after ", "[rcpt", "[mail", "[data", ">>> ", " was rejected")


def text(inside: Sequence[Entity]) -> str:
    """The explanation of a report: its first text, without the message that came back."""
    for part in inside:
        kind = part.content_type[0]
        if kind in ("text/plain", "text/html"):
            found = part.text()[: MAX_TEXT * 2]
            if kind == "text/html":
                found = html.to_text(found)
            found = _cut(found.replace("\r\n", "\n").replace("\r", "\n"))
            if found.strip():
                return found[:MAX_TEXT]
    return _unparted(inside)


def _unparted(inside: Sequence[Entity]) -> str:
    """The text of a multipart whose boundary was lost: all of it, delimiters and all."""
    lost = (p for p in inside if p.content_type[0].startswith("multipart/") and not parts(p))
    whole = next(lost, Entity((), b"")).body[: MAX_TEXT * 2]
    return _cut(decode_text(whole, "").replace("\r\n", "\n"))[:MAX_TEXT]


def _cut(found: str) -> str:
    for match in _RETURNED.finditer(found):
        before = found[: match.start()]
        said = "@" in before or len(before) > 200
        # A heading such as "----- Transcript of session follows" begins the explanation.
        if said and before.strip() and not _HEADING.search(match[0].partition(":")[0]):
            return before
    return found


def looks_like_bounce(entity: Entity) -> bool:
    """Whether a message is a bounce by its header: who wrote it and what about."""
    if entity.get("x-failed-recipients") or _DAEMON.search(entity.get("from")):
        return True
    by_machine = bool(_BOUNCE_FROM.search(entity.get("from"))) or entity.get("return-path") == "<>"
    return by_machine and (
        bool(_BOUNCE_SUBJECT.search(entity.get("subject")[:500]))
        or entity.content_type[0] == "multipart/report"
        or not entity.get("auto-submitted")
    )


def failures(entity: Entity, inside: Sequence[Entity]) -> list[tuple[str, Said, str]]:
    """(recipient, what was said, refused command) for each recipient that the words name.

    A bounce that names nobody has one failure with an empty recipient: the return path knows.
    """
    explained = text(inside)
    transcript = _transcript(explained)
    if len(transcript) > 1:
        return transcript
    recipients = _recipients(entity, explained)
    if len(recipients) < 2:
        recipient = recipients[0] if recipients else _returned_to(entity, inside)
        said = _of_one(explained, recipient)
        return [(recipient, said, command(explained))] if explained else []
    told = [(one, about(explained, one, recipients)) for one in recipients]
    return [(one, split_codes(said), command(said)) for one, said in told]


def _transcript(explained: str) -> list[tuple[str, Said, str]]:
    """Sendmail's: `550 <recipient>... what`, with the server's `<<<` line before it."""
    found: dict[str, tuple[str, Said, str]] = {}
    for match in _SENDMAIL.finditer(explained):
        lines = explained[: match.start()].rstrip("\n").split("\n")[-2:]
        said = f"{lines[-1]} {match[0]}" if lines[-1].startswith("<<<") else match[0]
        name = match[1].strip("<>")
        found.setdefault(name, (name, split_codes(said), command("\n".join(lines))))
    return list(found.values())


def _recipients(entity: Entity, explained: str) -> list[str]:
    declared = _ADDRESS.findall(entity.get("x-failed-recipients"))
    if declared:
        return _unique(declared)
    own = {a.lower() for a in _ADDRESS.findall(entity.get("to") + " " + entity.get("from"))}
    found = [a for a in _unique(_ADDRESS.findall(explained)) if a.lower() not in own]
    others = [a for a in found if not a.lower().startswith(_CONTACTS)] or found
    named = [a for a in others if _named(explained, a)]
    return (named or others)[:100]


def _unique(addresses: Iterable[str]) -> list[str]:
    """Without repeats, whatever their case; the last spelling's place, for what follows it."""
    return list({a.rstrip(".").lower(): a.rstrip(".") for a in addresses}.values())


def _named(explained: str, recipient: str) -> bool:
    """Whether the recipient begins a line, as it does where a report speaks of it."""
    start = r"(?mi)^(?!>>>)[^\w\n]{0,40}(?:to|recipients?|rcpt to|addresse?e?s?)?\W{0,40}"
    return re.search(start + re.escape(recipient), explained) is not None


def _returned_to(entity: Entity, inside: Iterable[Entity]) -> str:
    """Who the message that came back was for, when only its own header tells."""
    found = _ADDRESS.search(entity.get("x-original-to"))
    if found is None:
        for part in inside:
            if part.content_type[0] in ("message/rfc822", "text/rfc822-headers"):
                found = _ADDRESS.search(read(part.content()).get("to"))
    return found[0] if found else ""


def _of_one(explained: str, recipient: str) -> Said:
    """What is said of the only recipient: after its name, or before it when no code is there."""
    said = split_codes(_after(explained, recipient))
    whole = split_codes(explained)
    return whole if not (said[0] or said[1]) and (whole[0] or whole[1]) else said


def _after(explained: str, recipient: str) -> str:
    """All after the greeting, which ends where the recipient is first named, when it says much."""
    at = explained.find(recipient)
    line = explained.rfind("\n", 0, at) + 1 if at >= 0 else 0
    if len(explained[:line].strip()) > 40 and explained[line:at].strip().lower() == "to:":
        return explained[:line]  # the header of the message that came back: all was said before
    rest = explained[at + len(recipient) :] if at >= 0 else ""
    return rest if len(rest.strip(" \n>:.,)")) > 16 else explained


def about(explained: str, recipient: str, recipients: Iterable[str]) -> str:
    """What a report with several recipients says of one: from its name to another's name."""
    at = explained.find(recipient) if recipient else -1
    if at < 0:
        return explained
    rest = explained[at + len(recipient) :]
    ends = [rest.find(other) for other in recipients if other != recipient]
    return rest[: min((end for end in ends if end > 0), default=len(rest))]


def split_codes(said: str, *, whole: bool = False) -> Said:
    """SMTP code, enhanced code and text of what a server said, wherever in the words they stand.

    The text begins with the code, or is `whole`: some reporters say the reason before it.
    """
    start = 0
    quoted = [match.end() for match in _SAID.finditer(said)]
    match = None
    for position in quoted:
        match = _CODE.search(said, position, position + 64)
        if match:
            break
    match = match or _CODE.search(said)
    status = _STATUS.search(said)
    enhanced = (match[2] if match else None) or (status[1] if status else "")
    code = int(match[1]) if match else 0
    if match and not whole and len(said) - match.end() > 12:
        start = match.start()
    return code, enhanced, " ".join(said[start:].split())


def command(said: str) -> str:
    """The SMTP command that was refused: RCPT, MAIL, DATA …, or "" when the words do not tell."""
    lowered = said.lower()
    hints = [at for hint in _HINTS if (at := lowered.find(hint)) >= 0]
    match = _COMMAND.search(lowered, min(hints)) if hints else None
    if match is None:
        return ""
    found = next(group for group in match.groups() if group).upper()
    return {
        "END ": "DATA",
        " WAS REJECTED": "MAIL",
        "AFTER I SENT THE MESSAGE": "DATA",
        "AFTER INITIAL CONNECTION": "CONN",
    }.get(found, found[:4])
