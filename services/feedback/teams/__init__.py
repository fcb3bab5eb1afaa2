"""Who has belonged to whose team for how long: whatever HR sends today, a round asks those who were there before."""
