//! State's pure core, from outside: its tables exhaustively, its behaviours by name, and all of it at random
//! against a model of everything around it.

mod reconcile;
