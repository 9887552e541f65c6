"""What an alert is, how it is framed, checked, placed on the sky and kept: the nouns of skyburst."""
