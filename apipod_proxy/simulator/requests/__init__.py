"""How each dialect's requests are read: refused as its provider would, and turned into an Ask."""
