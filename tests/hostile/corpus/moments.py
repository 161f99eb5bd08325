"""Hostile text in place of a time."""

TEXTS = {
    "first_year": "0001-01-01",
    "before_the_first_year": "0001-01-01T00:00:00+14:00",
    "before_1970": "1960-01-01",
    "last_year": "9999-12-31T23:59:59Z",
    "after_the_last_year": "9999-12-31T23:59:59-23:59",
    "many_days": "in 4000000 days",
    "many_weeks": "in 9999999 weeks",
    "arabic_digits": "in ٣ min",
    "leap_second": "2026-12-31T23:59:60Z",
    "no_such_day": "2026-02-30",
    "no_such_hour": "tomorrow at 25:00",
    "infinity": "infinity",
    "epoch": "1e309",
    "odd_offset": "2026-01-01T00:00:00+99:99",
}
