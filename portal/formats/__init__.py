"""How dates are written, by language. One style everywhere: day, month as a word, year, 24 hours (docs/ui.md)."""
