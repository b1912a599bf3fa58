"""From the upstream's bytes to the client's: the outlet (client side), the pump (one attempt) and the lenses between them."""
