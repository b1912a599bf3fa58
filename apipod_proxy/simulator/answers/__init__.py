"""How each dialect answers: whole, as a stream, and with its errors."""
