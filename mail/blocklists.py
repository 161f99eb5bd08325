"""Block lists as data: the zones of RFC 5782 that are known, and what their answers mean.

blocklists.toml describes each field. An operator's own file adds lists, and changes fields of
others by their name.
"""

import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields
from importlib.resources import files
from ipaddress import IPv4Address
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from mail.dnsbl import ANSWERS, ERRORS, AnswerMeaning, Blocklist, EntryKind

KEY = "{key}"
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
ZONE_CHARS = 120  # the name of an IPv6 address has 64 more, that of a domain as many as it has


@dataclass(frozen=True, slots=True, kw_only=True)
class BlocklistConfig:
    """A list of the file."""

    name: str
    kinds: Annotated[list[EntryKind], Meta(min_length=1)]
    terms: Annotated[str, Meta(min_length=1, max_length=300)]
    zone: str = ""
    keyed_zone: str = ""
    key: str = ""
    answers: dict[str, AnswerMeaning] = field(default_factory=dict)
    bits: dict[str, AnswerMeaning] = field(default_factory=dict)
    enabled: bool = True
    link_addresses: bool = False
    listed_test: str = "test"
    unlisted_test: str = "invalid"
    delist: Annotated[str, Meta(max_length=300)] = ""


FIELDS = frozenset(one.name for one in fields(BlocklistConfig))


def shipped() -> str:
    """The file of the engine."""
    return (files("mail") / "blocklists.toml").read_text("utf-8")


def parse_blocklists(text: str, own: str = "") -> list[BlocklistConfig]:
    """The lists of a file, changed by those of an operator's own. Raises ValueError with all
    problems that the linter has found."""
    merged: dict[str, dict[str, Any]] = {}
    for source in (text, own):
        for index, entry in enumerate(_tables(source)):
            name = str(entry.get("name", index))
            merged[name] = {**merged.get(name, {}), **entry}
    entries = [_entry(name, table) for name, table in merged.items()]
    if problems := [f"list {one.name!r}: {each}" for one in entries for each in lint(one)]:
        raise ValueError("; ".join(problems))
    return entries


def select(
    entries: Collection[BlocklistConfig],
    *,
    names: Collection[str] = (),
    keys: Mapping[str, str] | None = None,
) -> list[Blocklist]:
    """The lists to query. names: of these; none: those that are enabled. keys: by name, of the
    zones with one. Raises ValueError."""
    keys = keys or {}
    known = {one.name for one in entries}
    if unknown := sorted(set(names) - known):
        raise ValueError(f"no list is named {', '.join(unknown)}. Use {', '.join(sorted(known))}.")
    if unused := sorted(set(keys) - {one.key for one in entries}):
        raise ValueError(f"no list has a key named {', '.join(unused)}.")
    if bad := sorted(name for name, key in keys.items() if not LABEL.fullmatch(key.lower())):
        raise ValueError(f"the key {bad[0]} is not a label of a DNS name.")
    chosen = [one for one in entries if (one.name in names if names else one.enabled)]
    return [_blocklist(one, keys.get(one.key, "") if one.key else "") for one in chosen]


def lint(entry: BlocklistConfig) -> Iterator[str]:
    """What is wrong with an entry."""
    if not NAME.fullmatch(entry.name):
        yield "a name has letters, digits and hyphens, at most 40."
    yield from _lint_zones(entry)
    if bool(entry.answers) == bool(entry.bits):
        yield "set either [list.answers] or [list.bits]."
    for text in entry.answers:
        if problem := _lint_answer(text):
            yield f"answers: {text}: {problem}"
    for text in entry.bits:
        if text not in {str(1 << bit) for bit in range(1, 8)}:
            yield f"bits: {text}: use 2, 4, 8, 16, 32, 64 or 128; 1 refuses a query."
    if entry.link_addresses and EntryKind.DOMAIN not in entry.kinds:
        yield "link_addresses belongs to lists of domains."


def _lint_zones(entry: BlocklistConfig) -> Iterator[str]:
    if not (entry.zone or entry.keyed_zone):
        yield "set zone or keyed_zone."
    if entry.zone and not _is_zone(entry.zone):
        yield f"zone: {entry.zone!r} is not a DNS name in lower case, of at most {ZONE_CHARS}."
    if entry.keyed_zone and (
        entry.keyed_zone.count(KEY) != 1 or not _is_zone(entry.keyed_zone.replace(KEY, "key"))
    ):
        yield f"keyed_zone: {entry.keyed_zone!r} is not a DNS name with one {KEY}."
    if bool(entry.keyed_zone) != bool(entry.key):
        yield "set keyed_zone and key, or neither."
    for name in (entry.listed_test, entry.unlisted_test):
        if not _is_name(name):
            yield f"listed_test, unlisted_test: {name!r} is not a DNS name in lower case."


def _lint_answer(text: str) -> str:
    try:
        address = IPv4Address(text)
    except ValueError:
        return "not an IPv4 address."
    if address not in ANSWERS or address in ERRORS:
        return "a listing is an address in 127.0.0.0/8, and not in 127.255.255.0/24."
    return ""


def _is_zone(name: str) -> bool:
    return len(name) <= ZONE_CHARS and "." in name and _is_name(name)


def _is_name(name: str) -> bool:
    return all(map(LABEL.fullmatch, name.split(".")))


def _tables(text: str) -> list[dict[str, Any]]:
    data = tomllib.loads(text)
    tables = data.get("list", [])
    if data.keys() - {"list"} or not isinstance(tables, list):
        raise ValueError("the file has tables [[list]], and nothing else.")
    names = [str(one.get("name")) for one in tables]
    if twice := sorted({one for one in names if names.count(one) > 1}):
        raise ValueError(f"list {twice[0][:40]!r}: two lists have this name.")
    return tables


def _entry(name: str, table: Mapping[str, Any]) -> BlocklistConfig:
    if unknown := [*_unknown_fields(table)]:
        raise ValueError(f"list {name[:40]!r}: there is no field {unknown[0][:40]!r}.")
    try:
        return msgspec.convert(table, BlocklistConfig)
    except msgspec.ValidationError as error:
        raise ValueError(f"list {name[:40]!r}: {error}") from error


def _unknown_fields(table: Mapping[str, Any]) -> Iterator[str]:
    yield from table.keys() - FIELDS
    for name in ("answers", "bits"):
        meanings = table.get(name)
        for one in meanings.values() if isinstance(meanings, dict) else ():
            yield from one.keys() - {"meaning", "weight"} if isinstance(one, dict) else ()


def _blocklist(entry: BlocklistConfig, key: str) -> Blocklist:
    if not (key or entry.zone):
        raise ValueError(f"list {entry.name!r} needs the key {entry.key!r}.")
    return Blocklist(
        name=entry.name,
        zone=entry.keyed_zone.replace(KEY, key.lower()) if key else entry.zone,
        kinds=frozenset(entry.kinds),
        answers=entry.answers,
        bits={int(bit): meaning for bit, meaning in entry.bits.items()},
        link_addresses=entry.link_addresses,
        listed_test=entry.listed_test,
        unlisted_test=entry.unlisted_test,
        delist=entry.delist,
        key=key,
    )
