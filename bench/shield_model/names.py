"""Made names of people, companies, domains and links."""

import tomllib
from pathlib import Path
from random import Random

LISTS: dict[str, list[str]] = tomllib.loads(Path(__file__).with_name("lists.toml").read_text())

SYLLABLES = LISTS["syllables"]
WORDS = LISTS["words"]
TAILS = LISTS["tails"]
TLDS = ("com",) * 10 + ("net", "org", "io", "co", "de", "fr", "co.uk", "app", "nl", "es", "it")
ODD_TLDS = (
    "com", "com", "net", "top", "xyz", "info", "online", "site", "shop", "ru", "cn", "click",
    "live", "biz", "com.br", "in", "club", "pl",
)  # fmt: skip
FIRST = LISTS["first_names"]
LAST = LISTS["last_names"]


def new_domain(random: Random, *, odd: bool = False) -> str:
    """A domain that nobody in the packs has; odd: as throw-away domains look."""
    tld = random.choice(ODD_TLDS if odd else TLDS)
    return f"{new_label(random, odd=odd)}.{tld}"


def new_label(random: Random, *, odd: bool = False) -> str:
    if odd and random.random() < 0.4:
        return f"{syllables(random)}{random.choice(['-', ''])}{random.randrange(10, 9999)}"
    if random.random() < 0.5:
        return syllables(random)
    second = random.choice([*WORDS, *TAILS])
    return random.choice(WORDS) + random.choice(["", "", "-"]) + second


def syllables(random: Random) -> str:
    return "".join(random.choices(SYLLABLES, k=random.randint(2, 4)))


def new_person(random: Random) -> str:
    return f"{random.choice(FIRST)} {random.choice(LAST)}"


def new_token(random: Random, length: int) -> str:
    return "".join(random.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=length))


def tracker_link(random: Random, domain: str) -> str:
    """A link as mail providers rewrite it: on a host of the sender or of the provider."""
    shared = random.choice(["ct.mailtrack", "links.sendwell", "clicks.mlsnd", "email.mg-relay"])
    host = random.choice(
        [f"{random.choice(['click', 'links', 'email', 'go', 'track', 'url1234'])}.{domain}"] * 2
        + [f"u{random.randrange(10**7)}.{shared}.net", f"{new_label(random)}.{shared}.com"]
    )
    path = random.choice(["ls/click?upn=", "f/a/", "track/click/", "c/", "CL0/", "e/", "?qs="])
    return f"https://{host}/{path}{new_token(random, random.randint(20, 120))}"
