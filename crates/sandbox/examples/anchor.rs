//! The smallest program that a sandbox can be started from: it becomes an
//! anchor, as `stockade` does with the same argument.

fn main() -> std::io::Result<()> {
    let argument = std::env::args().nth(1);
    if argument.as_deref() == Some(stockade_sandbox::ANCHOR_ARGUMENT) {
        stockade_sandbox::anchor::run()
    } else {
        Err(std::io::ErrorKind::InvalidInput.into())
    }
}
