//! What several tests need: programs, the second node, the server under test.
