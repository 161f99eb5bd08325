"""SOCKS version 5: RFC 1928, with a username and a password (RFC 1929).

The username is the address to connect from, and the password a shared token. So any client of
SOCKS can be used, and one connection says all before it is carried out.
"""
