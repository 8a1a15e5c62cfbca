"""Amounts of money, in whole cents."""


def parse(text: str) -> int:
    """'12.3' → 1230; raises ValueError for what is no amount."""
    text = text.strip()
    sign = -1 if text.startswith("-") else 1
    units, _, cents = text.lstrip("+-").partition(".")
    if len(cents) > 2:
        raise ValueError(f"'{text}' has more than two decimal places")
    return sign * (int(units or "0") * 100 + int(cents.ljust(2, "0")))


def show(cents: int) -> str:
    """1230 → '12.30'."""
    sign = "-" if cents < 0 else ""
    return f"{sign}{abs(cents) // 100}.{abs(cents) % 100:02}"
