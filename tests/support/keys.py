"""The secret key that the services of a test share: each ignores what others signed."""

from kernel.crypto import new_secret_key

SECRET_KEY = new_secret_key()
