//! The command line; all of it lives in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Mesa's layer that puts the desktop's GPU first asks Wayland for it, which complains on standard error where
    // there is no desktop. The adapter is chosen here or by --adapter, whatever their order.
    // SAFETY: nothing has started a thread yet.
    #[cfg(target_os = "linux")]
    unsafe {
        std::env::set_var("NODEVICE_SELECT", "1");
    }
    downhill::cli::main()
}
