"""A key for tests that sign: making one takes a tenth of a second."""

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

RSA_KEY: RSAPrivateKey = generate_private_key(65537, 2048)
