"""Bounces in free text: those without an RFC 3464 part, or with one that lacks details.

They share a structure: an introduction, a recipient, the server's reply, then the returned message.
The returned message is removed; the rest is read recipient by recipient.
"""

import re
from collections.abc import Iterable, Sequence

from mail import html
from mail.parser import Entity, decode_text, parse_entity, parts

MAX_TEXT = 32768  # characters of explanation that are examined

Diagnostic = tuple[int, str, str]
"""SMTP code or 0, enhanced code or "", and the text."""

AUTO_SUBJECT = re.compile(
    r"\s{0,9}(?:auto\w{0,12}(?: generated)?[ -]?(?:reply|response|antwort|antwoord|svar"
    r"|odpov\w{0,3}|odpowied\w|vastaus|v[áa]lasz)"
    r"|out of (?:the )?office|away from|on vacation|vacation|abwesenheit|afwezig|fr[åa]nvar"
    r"|r[ée]ponse automatique|respuesta autom|risposta automatica|r[ée]sposta autom|otomatik yan"
    r"|自動(?:返信|応答)|自动(?:回复|答复)|자동 ?(?:회신|응답)|автоответ|автоматический ответ)",
    re.IGNORECASE,
)
# Of services that deliver a message only after its sender has confirmed it (BoxTrapper, TMDA, …).
_CHALLENGE = re.compile(
    r"please confirm (?:that you sent |your )?(?:this |the )?(?:message|e-?mail)"
    r"|(?:e-?mail|message|sender) (?:address )?(?:requires?|needs|awaits) (?:\w{1,12} )?"
    r"(?:verification|confirmation)"
    r"|verify#|unconfirmed: |boxtrapper|spamarrest|boxbe|mailinblack|\btmda\b",
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
# The line that separates the explanation from the returned message.
_RETURNED = re.compile(
    r"^(?:[ \t]{0,9}[-=_*]{2,80}[^\n]{0,80}?(?:message|mail|header|copy|original|below)[^\n]{0,120}"
    r"|[ \t]{0,9}(?:below|here) is a copy[^\n]{0,80}"
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
# Exchange and others repeat the header of the message before they name the recipient.
_QUOTED_HEADER = re.compile(r"^[ \t]*(?:to|cc|subject|sent|date):", re.IGNORECASE | re.MULTILINE)
_QUOTED_SUBJECT = re.compile(r"^[ \t]*(?:with )?subject:? [^\n]*\n", re.IGNORECASE | re.MULTILINE)
_INTRODUCTION = re.compile(
    r"(?:did not reach|could not be|not (?:been )?delivered|cannot be)[^:]{0,80}"
    r"(?:recipients?|address(?:es)?)(?:\(s\)|\(es\))?(?: could not be \w{1,12})?:",
    re.IGNORECASE,
)
_SENDMAIL = re.compile(
    r"^[45]\d\d (?:[245]\.\d+\.\d+ )?(<?[^\s<>@]{1,64}@[^\s<>]{1,255}>?)\.\.\. [^\n]*", re.MULTILINE
)
_CONTACTS = ("postmaster@", "mailer-daemon@", "abuse@", "support@")
_REPLY_MARK = re.compile(
    r"<<<|said:|responded:|response was:?|returned was:|reply was|answered:|error:", re.IGNORECASE
)
_STATUS = re.compile(r"(?<![\d.])([245]\.\d{1,3}\.\d{1,3})(?![\d.])")
_COMMAND = re.compile(
    r"in reply to (?:the )?(?:end of )?([a-z]{4})|(does not like recipient)"
    r"|\bsent(?::| <<<) ([a-z]{4})|\bafter (?:end of )?(rcpt|mail|data)\b"
    r"|\[(rcpt|mail|data)(?:[_ ](?:to|from))?\]|>>> (rcpt|mail|data|ehlo|helo|quit)\b"
    r"|sender( was rejected)|(after i sent the message)|my name( was rejected)"
    r"|(after initial connection)"
)
# Every match of the pattern contains one of these; finding them is cheaper.
_HINTS = (
    "in reply to",
    "does not like",
    "sent: ",
    "sent <<<",
    "after ",
    "[rcpt",
    "[mail",
    "[data",
    ">>> ",
    " was rejected",
)


def report_explanation(inside: Sequence[Entity]) -> str:
    """The explanation of a report: its first text, without the returned message."""
    for part in inside:
        kind = part.content_type[0]
        if kind in ("text/plain", "text/html"):
            found = part.text()[: MAX_TEXT * 2]
            if kind == "text/html":
                found = html.to_text(found)
            found = _cut(found.replace("\r\n", "\n").replace("\r", "\n"))
            if found.strip():
                return found[:MAX_TEXT]
    return _text_without_boundary(inside)


def _text_without_boundary(inside: Sequence[Entity]) -> str:
    """The whole content of a multipart whose boundary was lost, including delimiters."""
    lost = (p for p in inside if p.content_type[0].startswith("multipart/") and not parts(p))
    whole = next(lost, Entity((), b"")).body[: MAX_TEXT * 2]
    return _cut(decode_text(whole, "").replace("\r\n", "\n"))[:MAX_TEXT]


def _cut(found: str) -> str:
    for match in _RETURNED.finditer(found):
        before = found[: match.start()]
        is_explained = "@" in before or len(before) > 200
        # A heading such as "----- Transcript of session follows" starts the explanation.
        if is_explained and before.strip() and not _HEADING.search(match[0].partition(":")[0]):
            return before
    return found


def looks_like_bounce(entity: Entity) -> bool:
    """Whether the sender and subject in a message's header are those of a bounce."""
    if entity.get("x-failed-recipients") or _DAEMON.search(entity.get("from")):
        return True
    by_machine = bool(_BOUNCE_FROM.search(entity.get("from"))) or entity.get("return-path") == "<>"
    return by_machine and (_is_titled(entity) or not entity.get("auto-submitted"))


def has_null_sender_only(entity: Entity) -> bool:
    """Whether nothing but its null return path lets a message look like a bounce; automatic replies
    have one too."""
    return not _is_titled(entity) and not any(
        (
            entity.get("x-failed-recipients"),
            _DAEMON.search(entity.get("from")),
            _BOUNCE_FROM.search(entity.get("from")),
        )
    )


def _is_titled(entity: Entity) -> bool:
    subject = entity.get("subject")[:500]
    return entity.content_type[0] == "multipart/report" or bool(_BOUNCE_SUBJECT.search(subject))


def is_challenge(entity: Entity) -> bool:
    """Whether a message asks its recipient to confirm that a person sent the earlier one."""
    about = f"{entity.get('subject')[:500]}\n{entity.get('from')}\n{entity.get('x-delivery-agent')}"
    return bool(_CHALLENGE.search(about)) and not looks_like_bounce(entity)


def failed_recipients(
    entity: Entity, inside: Sequence[Entity]
) -> list[tuple[str, Diagnostic, str]]:
    """(recipient, diagnostic, refused command) for each recipient that the text names.

    A bounce that names no recipient has one failure with an empty recipient; the return path
    identifies it.
    """
    explained = _without_quoted_header(report_explanation(inside))
    transcript = _transcript(explained)
    if len(transcript) > 1:
        return transcript
    recipients = _recipients(entity, explained)
    if len(recipients) < 2:
        recipient = recipients[0] if recipients else _returned_to(entity, inside)
        diagnostic = _single_diagnostic(explained, recipient)
        return [(recipient, diagnostic, refused_command(explained))] if explained else []
    diagnostics = [(one, text_about_recipient(explained, one, recipients)) for one in recipients]
    return [
        (one, split_codes(diagnostic), refused_command(diagnostic))
        for one, diagnostic in diagnostics
    ]


def _without_quoted_header(explained: str) -> str:
    """The text from the recipients on, if the header of the returned message precedes them."""
    match = _INTRODUCTION.search(explained)
    names_recipient = match is not None and _ADDRESS.search(explained, match.end())
    if match and names_recipient and _QUOTED_HEADER.search(explained[: match.start()]):
        explained = explained[match.end() :]
    return _QUOTED_SUBJECT.sub("", explained)


def _transcript(explained: str) -> list[tuple[str, Diagnostic, str]]:
    """Sendmail's transcript: `550 <recipient>... reason`, after the server's `<<<` line."""
    found: dict[str, tuple[str, Diagnostic, str]] = {}
    for match in _SENDMAIL.finditer(explained):
        lines = explained[: match.start()].rstrip("\n").split("\n")[-2:]
        diagnostic = f"{lines[-1]} {match[0]}" if lines[-1].startswith("<<<") else match[0]
        name = match[1].strip("<>")
        found.setdefault(name, (name, split_codes(diagnostic), refused_command("\n".join(lines))))
    return list(found.values())


def _recipients(entity: Entity, explained: str) -> list[str]:
    declared = _ADDRESS.findall(entity.get("x-failed-recipients"))
    if declared:
        return _unique(declared)
    own = {a.lower() for a in _ADDRESS.findall(entity.get("to") + " " + entity.get("from"))}
    found = [a for a in _unique(_ADDRESS.findall(explained)) if a.lower() not in own]
    others = [a for a in found if not a.lower().startswith(_CONTACTS)] or found
    named = [a for a in others if _begins_line(explained, a)]
    return (named or others)[:100]


def _unique(addresses: Iterable[str]) -> list[str]:
    """The addresses without repeats (ignoring case), each with its last spelling."""
    return list({a.rstrip(".").lower(): a.rstrip(".") for a in addresses}.values())


def _begins_line(explained: str, recipient: str) -> bool:
    """Whether the recipient begins a line, which is where reports name it."""
    start = r"(?mi)^(?!>>>)[^\w\n]{0,40}(?:to|recipients?|rcpt to|addresse?e?s?)?\W{0,40}"
    return re.search(start + re.escape(recipient), explained) is not None


def _returned_to(entity: Entity, inside: Iterable[Entity]) -> str:
    """The recipient of the returned message, from its header."""
    found = _ADDRESS.search(entity.get("x-original-to"))
    if found is None:
        for part in inside:
            if part.content_type[0] in ("message/rfc822", "text/rfc822-headers"):
                found = _ADDRESS.search(parse_entity(part.content()).get("to"))
    return found[0] if found else ""


def _single_diagnostic(explained: str, recipient: str) -> Diagnostic:
    """The diagnostic of the only recipient: after its name, or before it if no code follows."""
    diagnostic = split_codes(_text_after(explained, recipient))
    whole = split_codes(explained)
    return whole if not (diagnostic[0] or diagnostic[1]) and (whole[0] or whole[1]) else diagnostic


def _text_after(explained: str, recipient: str) -> str:
    """The text after the recipient's first mention, if long enough; else the whole text."""
    at = explained.find(recipient)
    line = explained.rfind("\n", 0, at) + 1 if at >= 0 else 0
    if len(explained[:line].strip()) > 40 and explained[line:at].strip().lower() == "to:":
        return explained[:line]  # the header of the returned message
    rest = explained[at + len(recipient) :] if at >= 0 else ""
    return rest if len(rest.strip(" \n>:.,)")) > 16 else explained


def text_about_recipient(explained: str, recipient: str, recipients: Iterable[str]) -> str:
    """The part of a report about one recipient: from its name to the name of another."""
    at = explained.find(recipient) if recipient else -1
    if at < 0:
        return explained
    rest = explained[at + len(recipient) :]
    ends = [rest.find(other) for other in recipients if other != recipient]
    return rest[: min((end for end in ends if end > 0), default=len(rest))]


def split_codes(text: str, *, whole: bool = False) -> Diagnostic:
    """SMTP code, enhanced code and text of a server's reply anywhere in the text.

    The returned text begins with the code. With `whole` it is the whole text, because some
    reporters put the reason before the code.
    """
    start = 0
    quoted = [match.end() for match in _REPLY_MARK.finditer(text)]
    match = None
    for position in quoted:
        match = _CODE.search(text, position, position + 64)
        if match:
            break
    match = match or _CODE.search(text)
    status = _STATUS.search(text)
    enhanced = (match[2] if match else None) or (status[1] if status else "")
    code = int(match[1]) if match else 0
    if match and not whole and len(text) - match.end() > 12:
        start = match.start()
    return code, enhanced, " ".join(text[start:].split())


def refused_command(diagnostic: str) -> str:
    """The SMTP command that was refused: RCPT, MAIL, DATA …, or "" if unknown."""
    lowered = diagnostic.lower()
    hints = [at for hint in _HINTS if (at := lowered.find(hint)) >= 0]
    match = _COMMAND.search(lowered, min(hints)) if hints else None
    if match is None:
        return ""
    found = next(group for group in match.groups() if group).upper()
    return {
        "END ": "DATA",
        "DOES NOT LIKE RECIPIENT": "RCPT",
        " WAS REJECTED": "MAIL",
        "AFTER I SENT THE MESSAGE": "DATA",
        "AFTER INITIAL CONNECTION": "CONN",
    }.get(found, found[:4])
