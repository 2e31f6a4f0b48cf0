"""Design questions: closed forms, break-even points, building blocks side by side."""
