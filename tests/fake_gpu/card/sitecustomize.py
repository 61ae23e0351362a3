"""Every Python process that inherits the environment of the tests has the cards; on its path by Wanted.environment."""

import fake_card

if found := fake_card.wanted():
    fake_card.plug_in(found)
