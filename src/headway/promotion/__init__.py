"""What decides who is champion: the gate, its statistics, the decision, its history, and how a decision is carried out."""
