"""shield consumes MessageAccepted, reads the content, passes, holds or blocks the message by score,
and emits MessageScreened with the reasons. It owns the rules (`rules.toml`), the model that weighs
them (`shield.model`), and the rows of campaigns, from whose outcomes it learns. ShieldService.Score
is a dry run; the other methods list campaigns."""
