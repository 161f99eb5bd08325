"""shield consumes MessageAccepted, reads the content, decides whether the message passes, is held
or is blocked, with a score and reasons, and emits MessageScreened. It owns the rules
(`rules.toml`) and no rows. For a dry run it answers ShieldService.Score."""
