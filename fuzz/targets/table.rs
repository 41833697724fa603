#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| isinit_fuzz::table::check(bytes));
