//! `agent-inject-command-NAME` is a line for a shell, and beside the secret there is none. The lines that people write
//! say one of three things, and those the agent can do by itself: a signal, a request to the application, a touch.

use holdfast_agent::action::Action;

/// The action that the line means; `None` when it means something else.
pub(super) fn action(line: &str, mount_path: &str) -> Option<Action> {
    let line = line.trim();
    let line = line.strip_suffix("|| true").unwrap_or(line).trim();
    let words: Vec<&str> = line.split_whitespace().collect();
    if let ["sh" | "/bin/sh" | "bash" | "/bin/bash", "-c" | "-ec", ..] = words.as_slice() {
        let (_, inner) = line.split_once("c ")?;
        return action(unquoted(inner.trim())?, mount_path);
    }
    // A second command, a pipe, a variable: not ours to guess.
    if line.contains([';', '|', '&', '>', '<', '\n']) {
        return None;
    }
    let (program, rest) = words.split_first()?;
    match program.rsplit('/').next()? {
        "kill" => kill(rest),
        "pkill" | "killall" => by_name(rest),
        "touch" => touch(rest, mount_path),
        "curl" | "wget" => post(program, rest),
        _ => None,
    }
}

/// `-HUP $(pidof nginx)`.
fn kill(words: &[&str]) -> Option<Action> {
    let (signal, rest) = signal(words)?;
    let process = rest.join(" ");
    let inner = process.strip_prefix("$(").and_then(|rest| rest.strip_suffix(')'));
    let inner = inner.or_else(|| process.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')))?;
    match inner.split_whitespace().collect::<Vec<_>>().as_slice() {
        ["pidof", name] | ["pidof", "-s", name] | ["pgrep", name] | ["pgrep", "-x", name] => to(name, &signal),
        _ => None,
    }
}

/// `-HUP nginx`.
fn by_name(words: &[&str]) -> Option<Action> {
    let (signal, rest) = signal(words)?;
    match rest {
        [name] | ["-x", name] => to(name, &signal),
        _ => None,
    }
}

fn signal<'w>(words: &'w [&'w str]) -> Option<(String, &'w [&'w str])> {
    let (name, rest) = match words {
        ["-s" | "--signal", name, rest @ ..] => (*name, rest),
        [first, rest @ ..] if first.starts_with("--signal=") => (&first["--signal=".len()..], rest),
        [first, rest @ ..] if first.starts_with('-') => (&first[1..], rest),
        rest => ("TERM", rest),
    };
    let name = name.to_ascii_uppercase();
    let name = match name.strip_prefix("SIG").unwrap_or(&name) {
        "1" => "HUP",
        "2" => "INT",
        "10" => "USR1",
        "12" => "USR2",
        "15" => "TERM",
        other => other,
    };
    Some((name.to_owned(), rest))
}

fn to(process: &str, signal: &str) -> Option<Action> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    process.chars().all(plain).then(|| format!("signal:{process}:{signal}").parse().ok())?
}

/// Below the mount path only: elsewhere the agent's file is not the application's.
fn touch(words: &[&str], mount_path: &str) -> Option<Action> {
    let [file] = words else { return None };
    let file = unquoted(file)?;
    let below = file.strip_prefix(mount_path)?.strip_prefix('/')?;
    (!below.split('/').any(|part| part == "..") && !file.contains('$')).then(|| format!("touch:{file}").parse().ok())?
}

/// `-X POST http://127.0.0.1:9090/-/reload`.
fn post(program: &str, words: &[&str]) -> Option<Action> {
    let line = words.join(" ");
    let posts = if program.ends_with("wget") {
        line.contains("--post-data") || line.contains("--method=POST")
    } else {
        line.contains("-X POST") || line.contains("-XPOST") || line.contains("--request POST")
    };
    let urls: Vec<_> = words.iter().filter_map(|word| unquoted(word)?.strip_prefix("http://")).collect();
    let [url] = urls.as_slice() else { return None };
    let rest = url.strip_prefix("127.0.0.1").or_else(|| url.strip_prefix("localhost"))?;
    let (port, path) = match rest.strip_prefix(':') {
        Some(rest) => rest.split_once('/').unwrap_or((rest, "")),
        None => ("80", rest.strip_prefix('/').unwrap_or(rest)),
    };
    (posts && !path.contains('$')).then(|| format!("http:{port}/{path}").parse().ok())?
}

fn unquoted(text: &str) -> Option<&str> {
    for quote in ['"', '\''] {
        if let Some(rest) = text.strip_prefix(quote) {
            return rest.strip_suffix(quote);
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_mean_one_thing_are_understood() {
        for (line, meant) in [
            ("kill -HUP $(pidof nginx)", "signal:nginx:HUP"),
            ("kill -s USR1 `pgrep -x app`", "signal:app:USR1"),
            ("pkill -SIGHUP haproxy || true", "signal:haproxy:HUP"),
            ("killall -1 envoy", "signal:envoy:HUP"),
            ("sh -c 'kill -HUP $(pidof vault-app)'", "signal:vault-app:HUP"),
            ("/bin/sh -c \"pkill --signal HUP java\"", "signal:java:HUP"),
            ("touch /vault/secrets/changed", "touch:/vault/secrets/changed"),
            ("curl -s -X POST http://127.0.0.1:9090/-/reload", "http:9090/-/reload"),
            ("wget -qO- --post-data='' http://localhost:8080/actuator/refresh", "http:8080/actuator/refresh"),
        ] {
            let found = action(line, "/vault/secrets").map(String::from);
            assert_eq!(found.as_deref(), Some(meant), "{line}");
        }
    }

    #[test]
    fn anything_else_is_not_guessed() {
        for line in [
            "",
            "nginx -s reload",
            "kill -HUP 1",
            "kill -HUP $(cat /run/app.pid)",
            "kill -HUP $(pidof a); rm -rf /",
            "touch /etc/passwd",
            "touch /vault/secrets/../../etc/x",
            "curl http://127.0.0.1:9090/reload",
            "curl -X POST http://metadata.internal/x",
            "sh -c 'unclosed",
            "pkill -HUP $APP",
        ] {
            assert_eq!(action(line, "/vault/secrets"), None, "{line}");
        }
    }
}
