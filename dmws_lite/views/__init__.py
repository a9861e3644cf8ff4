"""Views: figures (each function returns one), and the widgets that choose what they show."""
