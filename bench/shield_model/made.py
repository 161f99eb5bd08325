"""Mail made by the grammar in `made.toml`: kinds that the old corpora lack, good and bad."""

import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from bench.shield_model.names import (
    FIRST,
    LISTS,
    WORDS,
    new_domain,
    new_label,
    new_person,
    new_token,
    tracker_link,
)
from bench.shield_model.shells import shell
from contracts.ingest.v1.content_pb2 import Attachment, Content, Header

GRAMMAR = Path(__file__).with_name("made.toml")
CHOICE = re.compile(r"\[([^\[\]]*)\]")
SLOT = re.compile(r"\{(\w+)\}")
LEFT_OUT = 0.2  # share of paragraphs, except for those that the kind is about

BRANDS = LISTS["brands"]
CRYPTO = LISTS["crypto_brands"]
CARRIERS = (
    "https://www.dhl.com/en/express/tracking.html?AWB=",
    "https://www.ups.com/track?tracknum=",
    "https://www.fedex.com/fedextrack/?trknbr=",
    "https://tools.usps.com/go/Track?tLabels=",
)
PRODUCTS = LISTS["products"]
CITIES = LISTS["cities"]
COUNTRIES = LISTS["countries"]
MONTHS = LISTS["months"]
FREEMAIL = LISTS["freemail"]
HOSTING = ("{}.web.app", "{}.pages.dev", "{}.netlify.app", "{}.weebly.com", "{}.blogspot.com",
           "sites.google.com/view/{}", "{}.r2.dev", "{}.vercel.app", "{}.github.io",
           "storage.googleapis.com/{}", "{}.azurewebsites.net")  # fmt: skip
SHORT = ("bit.ly", "tinyurl.com", "t.co", "cutt.ly", "is.gd", "rb.gy")


def made_mail(count: int, seed: int) -> Iterator[tuple[str, bool, Content]]:
    """Kind, whether it is bad, and content, equally many of each kind."""
    grammar = tomllib.loads(GRAMMAR.read_text())
    kinds = [(name, side == "bad", row) for side in grammar for name, row in grammar[side].items()]
    random = Random(seed)
    for number in range(count):
        name, bad, kind = kinds[number % len(kinds)]
        yield name, bad, make(kind, bad, random)


def make(kind: dict[str, Any], bad: bool, random: Random) -> Content:
    words = Slots(bad, random)
    chosen = [random.choice(each) for each in kind["say"]]
    kept = [each for n, each in enumerate(chosen) if n == 1 or random.random() >= LEFT_OUT]
    paragraphs = [words.fill(each) for each in kept]
    content = Content(subject=words.fill(random.choice(kind["subject"])))
    names = kind.get(
        "names", ["{brand}", "{brand}", "{brand} [Team|Support|Billing]", "{person}", ""]
    )
    name = words.fill(random.choice(names))
    setattr(content, "from", f"{name} <{words.local()}@{words.domain}>")
    form = random.random()
    if form < 0.75:
        content.html = shell(paragraphs, words.domain, random)
    if form < 0.4 or form >= 0.75:
        content.text = "\n\n".join(paragraphs)
    if "files" in kind and random.random() < 0.5:
        file, media = random.choice(kind["files"])
        content.attachments.append(
            Attachment(filename=words.fill(file), content_type=media, content=b"-")
        )
    add_fields(content, words, random)
    return content


def add_fields(content: Content, words: "Slots", random: Random) -> None:
    if random.random() < 0.2:
        url = f"<https://{words.domain}/u/{new_token(random, 12)}>"
        content.headers.append(Header(name="List-Unsubscribe", value=url))
    if random.random() < 0.15:
        host = random.choice(FREEMAIL) if words.bad else words.domain
        content.reply_to.append(f"{words.local()}@{host}")


class Slots:
    """What is filled in: the same names everywhere in one message."""

    def __init__(self, bad: bool, random: Random) -> None:
        self.bad, self._random = bad, random
        self.domain = new_domain(random, odd=bad and random.random() < 0.5)
        self._target = new_domain(random)
        label = self.domain.partition(".")[0]
        person, first = new_person(random), random.choice(FIRST)
        brand = (
            label.replace("-", " ").title() if random.random() < 0.8 else new_label(random).title()
        )
        self._fixed = {
            "brand": brand,
            "domain": self.domain,
            "person": person,
            "first": first,
            "user": random.choice([first.lower(), f"{first.lower()}{random.randrange(99)}"]),
            "email": f"{first.lower()}@{self._target}",
            "label": self._target.partition(".")[0],
            "target_domain": self._target,
            "support": f"support@{self.domain}",
            "target_brand": random.choice(BRANDS),
            "crypto_brand": random.choice(CRYPTO),
            "currency": random.choice(["$", "$", "$", "€", "£"]),
        }

    def fill(self, text: str) -> str:
        while CHOICE.search(text):
            text = CHOICE.sub(lambda m: self._random.choice(m[1].split("|")), text)
        text = SLOT.sub(lambda m: self._fixed.get(m[1]) or self._made(m[1]), text)
        return text.replace(" ?", "")

    def local(self) -> str:
        common = [
            "info",
            "hello",
            "no-reply",
            "noreply",
            "support",
            "team",
            "news",
            "billing",
            "mail",
        ]
        first = self._fixed["first"].lower()
        return self._random.choice([*common, first, f"{first}{self._random.randrange(99)}"])

    def _made(self, slot: str) -> str:
        made: Callable[[], str] = getattr(self, f"_{slot}")
        return made()

    def _link(self) -> str:
        return self._bad_link() if self.bad else self._good_link()

    def _good_link(self) -> str:
        random = self._random
        path = "/".join(random.choices(WORDS, k=random.randint(0, 2)))
        query = f"?{random.choice(['id', 't', 'utm_source', 'token'])}={new_token(random, 12)}"
        host = random.choice(["", "www.", "app.", "account.", "shop.", "my."]) + self.domain
        own = f"https://{host}/{path}{query if random.random() < 0.5 else ''}"
        return own if random.random() < 0.55 else tracker_link(random, self.domain)

    def _bad_link(self) -> str:
        """On a hacked or throw-away site, free hosting, a shortener, or the sender's own domain."""
        random, token = self._random, new_token(self._random, self._random.randint(5, 24))
        place = random.choice(["login", "secure", "verify", "wp-content/x", "index.php", "go", "a"])
        drawn = random.random()
        if drawn < 0.45:
            host = new_domain(random, odd=random.random() < 0.6)
            scheme = random.choice(["https", "https", "http"])
            return f"{scheme}://{host}/{place}" + (f"/{token}" if random.random() < 0.5 else "")
        if drawn < 0.65:
            return "https://" + random.choice(HOSTING).format(new_label(random)) + f"/{place}"
        if drawn < 0.72:
            return f"https://{random.choice(SHORT)}/{new_token(random, 7)}"
        if drawn < 0.88:
            return f"https://{self.domain}/{place}/{token}"
        return tracker_link(random, self.domain)

    def _carrier(self) -> str:
        return self._random.choice(CARRIERS) + self._tracking()

    def _tracking(self) -> str:
        return f"{self._random.choice(['1Z', 'JD', '', 'RR'])}{self._random.randrange(10**11)}"

    def _number(self) -> str:
        return str(self._random.randint(1000, 9_999_999))

    def _small(self) -> str:
        return str(self._random.randint(2, 30))

    def _four(self) -> str:
        return f"{self._random.randrange(10_000):04}"

    def _percent(self) -> str:
        return str(self._random.choice([10, 15, 20, 25, 30, 40, 50, 60, 70, 85, 95, 98]))

    def _amount(self) -> str:
        value = self._random.choice([self._random.uniform(5, 99), self._random.uniform(100, 5000)])
        return f"{self._fixed['currency']}{value:,.2f}"

    def _tiny(self) -> str:
        return f"{self._fixed['currency']}{self._random.uniform(1, 9):.2f}"

    def _million(self) -> str:
        value = self._random.choice(["10.5 million", "2,500,000.00", "4.7 million", "850,000"])
        sign = self._random.choice(["US$", "$", "€", "USD ", "£"])
        return sign + value + self._random.choice(["", " dollars", " (United States Dollars)"])

    def _date(self) -> str:
        day, month = self._random.randint(1, 28), self._random.choice(MONTHS)
        return self._random.choice(
            [f"{month} {day}", f"{day} {month} 2026", f"{day}/{day % 12 + 1}/2026"]
        )

    def _time(self) -> str:
        return f"{self._random.randint(7, 19)}:{self._random.choice(['00', '15', '30', '45'])}"

    def _month(self) -> str:
        return self._random.choice(MONTHS)

    def _code(self) -> str:
        return self._random.choice([str(self._random.randint(100_000, 999_999)),
                                    new_token(self._random, 6).upper()])  # fmt: skip

    def _hex(self) -> str:
        return f"{self._random.getrandbits(40):010x}"

    def _product(self) -> str:
        return self._random.choice(PRODUCTS)

    def _city(self) -> str:
        return self._random.choice(CITIES)

    def _odd_country(self) -> str:
        return self._random.choice(COUNTRIES)

    def _street(self) -> str:
        kind = self._random.choice(["Street", "Avenue", "Road", "Lane"])
        return f"{self._random.randint(1, 999)} {self._random.choice(WORDS).title()} {kind}"

    def _phone(self) -> str:
        random = self._random
        return (
            f"({random.randint(200, 989)}) {random.randint(200, 999)}-{random.randrange(10_000):04}"
        )

    def _freemail(self) -> str:
        name = self._fixed["person"].lower().replace(" ", self._random.choice(["", ".", "_"]))
        return f"{name}{self._random.randrange(999)}@{self._random.choice(FREEMAIL)}"

    def _wallet(self) -> str:
        return "bc1q" + new_token(self._random, 38)
