//! The contract of the seams as a suite.
