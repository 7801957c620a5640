//! The libraries as `packaging/c/install.sh` installs them, and programs that find them by pkg-config.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use siskin::tensor::Dtype;

use crate::programs::{assert_refused, check_contract};
use crate::support::{random_model, specs};

const AARCH64: &str = "aarch64-unknown-linux-gnu";

/// Most bytes of the shared library on x86-64, and of that which is built for size.
const LARGEST: u64 = 1_500_000;
const LARGEST_SMALL: u64 = 600_000;

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of these tests.
pub fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Whether there are the programs that a test of `what` needs; says so where one is missing.
pub fn has(programs: &[&str], what: &str) -> bool {
    let missing = programs.iter().find(|program| Command::new(program).arg("--version").output().is_err());
    if let Some(program) = missing {
        eprintln!("SKIPPED: {what}: there is no {program}");
    }
    missing.is_none()
}

/// What the command printed, if it ended well.
pub fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } =
        command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {status}\n{stdout}\n{stderr}");
    stdout.into_owned()
}

/// Installed libraries, and how programs are made with them.
pub struct Installation {
    prefix: PathBuf,
    /// Of compilers.
    tools: &'static str,
}

/// How a program is linked.
#[derive(Clone, Copy, Debug)]
pub enum Link {
    Shared,
    Static,
}

impl Installation {
    /// The libraries for this machine; `None`, and a message, where nothing can use them.
    pub fn native() -> Option<&'static Self> {
        static NATIVE: OnceLock<Installation> = OnceLock::new();
        let tools = ["gcc", "g++", "pkg-config"];
        has(&tools, "the C ABI").then(|| NATIVE.get_or_init(|| Self::install("native", "", &[])))
    }

    /// The libraries for this machine, built for size; `None`, and a message, where nothing can make or use them.
    pub fn small() -> Option<Self> {
        let what = "the C ABI built for size";
        if !has(&["gcc", "pkg-config", "rustc"], what) {
            return None;
        }
        let root = run(Command::new("rustc").args(["--print", "sysroot"]));
        if !Path::new(root.trim()).join("lib/rustlib/src/rust/library").is_dir() {
            eprintln!("SKIPPED: {what}: there is no source of the standard library");
            return None;
        }
        Some(Self::install("small", "", &["--small"]))
    }

    /// The libraries for aarch64; `None`, and a message, where nothing makes or runs programs of it.
    pub fn aarch64() -> Option<Self> {
        let what = "the C ABI on aarch64";
        let tools = ["aarch64-linux-gnu-gcc", "aarch64-linux-gnu-g++", "qemu-aarch64", "pkg-config", "rustc"];
        if !has(&tools, what) {
            return None;
        }
        let standard = run(Command::new("rustc").args(["--print", "target-libdir", "--target", AARCH64]));
        if !Path::new(standard.trim()).is_dir() {
            eprintln!("SKIPPED: {what}: there is no standard library for {AARCH64}");
            return None;
        }
        Some(Self::install("aarch64", "aarch64-linux-gnu-", &["--target", AARCH64]))
    }

    fn install(name: &str, tools: &'static str, arguments: &[&str]) -> Self {
        let prefix = scratch(name);
        let mut install = Command::new(root().join("packaging/c/install.sh"));
        install.arg("--prefix").arg(&prefix).args(arguments);
        install.env("CARGO_TARGET_DIR", scratch("").parent().expect("the target folder"));
        install.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc");
        run(&mut install);
        Self { prefix, tools }
    }

    /// The shared library.
    pub fn library(&self) -> PathBuf {
        self.prefix.join("lib/libsiskin.so")
    }

    /// Holds the shared library against a budget in bytes, which is that of x86-64.
    fn check_size(&self, budget: u64) {
        let size = self.library().metadata().unwrap().len();
        println!("{} has {size} bytes", self.library().display());
        assert!(size <= budget || !cfg!(target_arch = "x86_64"), "{size} bytes, more than {budget}");
    }

    fn pkg_config(&self, arguments: &[&str]) -> Vec<String> {
        let mut command = Command::new("pkg-config");
        command.env("PKG_CONFIG_PATH", self.prefix.join("lib/pkgconfig")).args(arguments).arg("siskin");
        run(&mut command).split_whitespace().map(str::to_owned).collect()
    }

    /// The program of a source in C99 or C++11, warnings being errors.
    pub fn compile(&self, source: &str, link: Link) -> PathBuf {
        let program = self.prefix.join(format!("{}-{link:?}", source.replace(['/', '.'], "-")));
        let (compiler, standard) =
            if source.ends_with(".c") { ("gcc", "-std=c99") } else { ("g++", "-std=c++11") };
        let mut command = Command::new(self.tools.to_owned() + compiler);
        command.args([standard, "-Wall", "-Wextra", "-Werror", "-pedantic", "-O1", "-g", "-pthread"]);
        command.arg(root().join(source)).arg("-o").arg(&program);
        match link {
            Link::Shared => {
                command.args(self.pkg_config(&["--cflags", "--libs"]));
                command.arg(format!("-Wl,-rpath,{}", self.prefix.join("lib").display()));
            }
            Link::Static => {
                let flags = self.pkg_config(&["--cflags", "--libs", "--static"]);
                command.args(flags.iter().map(|flag| flag.replace("-lsiskin", "-l:libsiskin.a")));
            }
        }
        run(&mut command);
        program
    }
}

#[test]
fn the_libraries_are_small_and_have_their_version() {
    let Some(installation) = Installation::native() else { return };
    assert_eq!(installation.pkg_config(&["--modversion"]), [env!("CARGO_PKG_VERSION")]);
    let library = installation.library().canonicalize().unwrap();
    assert!(library.ends_with(concat!("libsiskin.so.", env!("CARGO_PKG_VERSION"))));
    installation.check_size(LARGEST);
}

#[test]
fn what_is_built_for_size_is_small_and_names_what_it_lacks() {
    let Some(installation) = Installation::small() else { return };
    installation.check_size(LARGEST_SMALL);
    let int4 = scratch("int4.siskin");
    std::fs::write(&int4, random_model(&specs::marian(), 1, Dtype::I4)).unwrap();
    let program = installation.compile("examples/c/translate.c", Link::Shared);
    assert_refused(Command::new(program).arg(int4).arg("a"), "without the feature `int4`");
    check_contract(&mut Command::new(installation.compile("tests/capi/contract.c", Link::Shared)));
}
