//! Keeps the rules of the house: who may use whom, what is pure, how long a file may be.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A rule: files whose path begins with one of `rooms` (relative to `src`) hold none of `words` outside tests and comments.
struct Rule {
    rooms: &'static [&'static str],
    except: &'static [&'static str],
    words: &'static [&'static str],
    because: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        rooms: &[
            "api/",
            "bootstrap/",
            "apiserver/path.rs",
            "apiserver/ssa/",
            "apiserver/schema/",
            "apiserver/object/",
        ],
        except: &[],
        words: &[
            "async fn",
            ".await",
            "kube::Client",
            "Client::",
            ": Client",
            "&Client",
            "Timestamp::now",
            "SystemTime",
            "std::env",
            "rand::",
            "tokio",
            "std::net::Tcp",
        ],
        because: "it is pure: no I/O, no async, no clock, no chance",
    },
    Rule {
        rooms: &[
            "providers/docker/spec.rs",
            "providers/docker/script.rs",
            "providers/hollow/spec.rs",
            "providers/hollow/faults.rs",
            "providers/hollow/fleet.rs",
        ],
        except: &[],
        words: &[
            "async fn",
            ".await",
            "kube::Client",
            "Client::",
            ": Client",
            "&Client",
            "Timestamp::now",
            "std::env",
            "rand::",
            "tokio",
        ],
        because: "specs are pure",
    },
    Rule {
        rooms: &[
            "pivot/facts.rs",
            "pivot/graph",
            "pivot/object.rs",
            "pivot/references.rs",
        ],
        except: &[],
        words: &[
            "async fn",
            ".await",
            "kube::Client",
            "Client::",
            ": Client",
            "&Client",
            "std::env",
            "std::fs",
            "rand::",
            "tokio",
        ],
        because: "what moves is decided from what was read alone",
    },
    Rule {
        rooms: &["pivot/"],
        except: &[],
        words: &["crate::ui", "crate::cli::", "crate::apiserver"],
        because: "it can't tell which clusters it talks to, nor who watches",
    },
    Rule {
        rooms: &["api/", "apiserver/"],
        except: &[],
        words: &[
            "crate::ui",
            "crate::cli",
            "crate::controllers",
            "crate::providers",
            "crate::cluster",
            "crate::client",
        ],
        because: "it stands below those rooms",
    },
    Rule {
        rooms: &["bootstrap/", "providers/"],
        except: &[],
        words: &["crate::ui", "crate::cli", "crate::controllers", "crate::cluster"],
        because: "it stands below those rooms",
    },
    Rule {
        rooms: &["controllers/"],
        except: &[],
        words: &["crate::ui", "crate::cli", "crate::apiserver", "crate::cluster"],
        because: "controllers can't tell which cluster they talk to, nor who watches",
    },
    Rule {
        rooms: &["ui/"],
        except: &[],
        words: &[
            "kube::",
            "k8s_openapi",
            "crate::controllers",
            "crate::api",
            "crate::client",
        ],
        because: "the ui knows nothing of Kubernetes",
    },
    Rule {
        rooms: &[""],
        except: &["cli/", "main.rs"],
        words: &["clap::", "clap_"],
        because: "nothing below cli knows clap",
    },
    Rule {
        rooms: &[""],
        // The build script is no part of the program; this is how it speaks to Cargo.
        except: &["ui/", "build.rs"],
        words: &["println!", "eprintln!", "print!("],
        because: "only the ui prints",
    },
    Rule {
        rooms: &[""],
        except: &["yaml.rs"],
        words: &["serde_yaml"],
        because: "only yaml.rs knows the YAML crate",
    },
    Rule {
        rooms: &[""],
        except: &["time.rs"],
        words: &["Timestamp::now(", "SystemTime::now(", "Utc::now("],
        because: "only time.rs reads the wall clock",
    },
    Rule {
        rooms: &[""],
        except: &["providers/docker/"],
        words: &["bollard"],
        because: "only the Docker provider knows bollard",
    },
    Rule {
        rooms: &[""],
        except: &["apiserver/store/"],
        words: &["redb::"],
        because: "only the store knows redb",
    },
];

fn source_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(source_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The lines of a file that are code, numbered from 1: no comments, nothing after `#[cfg(test)]` on a module.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let tests = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
    text[..tests]
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.split("//").next().unwrap_or_default()))
}

fn violations(rules: &[Rule], relative: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for rule in rules {
        let applies = rule.rooms.iter().any(|room| relative.starts_with(room));
        if !applies || rule.except.iter().any(|room| relative.starts_with(room)) {
            continue;
        }
        for (number, line) in code(text) {
            for word in rule.words.iter().filter(|word| line.contains(**word)) {
                found.push(format!("src/{relative}:{number}: `{word}`: {}", rule.because));
            }
        }
    }
    found
}

/// Whether a file is part of the tests only: its parent declares it so.
fn is_test_module(path: &Path) -> bool {
    let stem = path.file_stem().unwrap().to_str().unwrap();
    let folder = path.parent().unwrap();
    let parents = [folder.join("mod.rs"), folder.with_extension("rs")];
    let declaration = regex::Regex::new(&format!(r"#\[cfg\(test\)\]\n(pub\(\w+\) )?mod {stem};")).unwrap();
    parents
        .iter()
        .filter_map(|parent| fs::read_to_string(parent).ok())
        .any(|text| declaration.is_match(&text))
}

fn is_planner(relative: &str) -> bool {
    relative.starts_with("controllers/")
        && ["plan.rs", "rollout.rs", "status.rs"]
            .iter()
            .any(|name| relative.ends_with(&format!("/{name}")))
}

const PLANNERS: &[Rule] = &[Rule {
    rooms: &["controllers/"],
    except: &[],
    words: &[
        "async fn",
        ".await",
        "kube::Client",
        "Client::",
        ": Client",
        "&Client",
        "Timestamp::now",
        "std::env",
        "rand::",
        "tokio",
    ],
    because: "planners are pure",
}];

#[test]
fn each_room_uses_only_what_it_may() {
    let mut found = Vec::new();
    for path in source_files(&src()) {
        if is_test_module(&path) {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let relative = path.strip_prefix(src()).unwrap().to_str().unwrap().to_owned();
        found.extend(violations(RULES, &relative, &text));
        if is_planner(&relative) {
            found.extend(violations(PLANNERS, &relative, &text));
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn the_rules_find_what_they_forbid() {
    let bad = "//! Doc.\nuse tokio::time;\n// .await in a comment\n#[cfg(test)]\nmod tests { use tokio; }\n";
    assert_eq!(violations(RULES, "api/x.rs", bad).len(), 1);
    assert_eq!(
        violations(PLANNERS, "controllers/machine/plan.rs", "let a = b.await;").len(),
        1
    );
    assert_eq!(violations(RULES, "controllers/x.rs", "println!();").len(), 1);
    assert!(is_planner("controllers/machine/plan.rs") && !is_planner("controllers/machine/observe.rs"));
}

#[test]
fn files_say_what_they_are_and_stay_short() {
    let mut found = Vec::new();
    for path in source_files(&src()) {
        let text = fs::read_to_string(&path).unwrap();
        if !text.starts_with("//!") {
            found.push(format!(
                "{}: begins without a `//!` line that says what it is",
                path.display()
            ));
        }
        if text.lines().count() > 800 {
            found.push(format!("{}: more than 800 lines", path.display()));
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn no_test_file_is_forgotten() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let main = fs::read_to_string(here.join("main.rs")).unwrap();
    for entry in fs::read_dir(&here).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let is_module = path.extension().is_some_and(|e| e == "rs") || path.join("mod.rs").is_file();
        if is_module && name != "main" {
            assert!(
                main.contains(&format!("mod {name};")),
                "tests/it/main.rs does not declare {name}"
            );
        }
    }
}
