//! Tests of GRIP.
