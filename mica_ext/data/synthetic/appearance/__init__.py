"""What a rendered head looks like: skin, hair, clothes, glasses, background."""
