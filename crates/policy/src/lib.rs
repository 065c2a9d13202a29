//! Policy text, the tree made of it, and the decision.
