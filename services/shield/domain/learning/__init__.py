"""Learning from outcomes, as a fold over facts in the order of their offsets (ADR 60).

`fingerprints` says which messages are one campaign, `campaign` decides whether it may go on.
Nothing here reads a clock: time is that of the facts.
"""
