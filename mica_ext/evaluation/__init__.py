"""How well expressions are read: packs on people held out, and encoders compared."""
