"""A voting app: two choices, one Redis that counts."""
