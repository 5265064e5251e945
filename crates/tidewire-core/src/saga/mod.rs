//! Sagas: long workflows as data and a pure reducer.
