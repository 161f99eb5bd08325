"""Hostile text in place of an id."""

ID = "01890000-0000-7000-8000-000000000000"
TEXTS = {
    "missing": ID,
    "urn": f"urn:uuid:{ID}",
    "braces": f"{{{ID}}}",
    "odd_hyphens": "0-1890000000070008000000000000000",
    "without_hyphens": ID.replace("-", ""),
    "trailing_newline": f"{ID}\n",
    "none": "00000000-0000-0000-0000-000000000000",
    "all": "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "event": f"evt_{ID}",
}
