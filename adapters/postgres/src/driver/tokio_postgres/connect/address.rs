//! Splits an address into its parameters: a URL, or a list as `libpq` has it.

use percent_encoding::percent_decode_str;

use super::error::AddressError;

/// The parameters of an address, in their order.
pub(super) type Pairs = Vec<(String, String)>;

/// Returns the parameters of an address, not checked.
pub(super) fn pairs(address: &str) -> Result<Pairs, AddressError> {
    match ["postgres://", "postgresql://"].into_iter().find_map(|scheme| address.strip_prefix(scheme)) {
        Some(rest) => of_url(rest),
        None => of_list(address),
    }
}

/// The parts of `user:password@host:port,host:port/database?name=value&name=value`. Each part can be absent.
fn of_url(rest: &str) -> Result<Pairs, AddressError> {
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (login, place) = match place.matches('@').count() {
        _ if place.starts_with('/') => (None, place),
        0 => (None, place),
        1 => place.split_once('@').map_or((None, place), |(login, place)| (Some(login), place)),
        _ => return Err(AddressError::Unencoded),
    };
    // A `/`, `?` or `#` in a password ends the part before the `@`.
    let is_split = login.is_none() && !place.contains('/') && query.contains('@');
    if is_split || place.contains('#') || login.is_some_and(|login| login.contains(['/', '#'])) {
        return Err(AddressError::Unencoded);
    }
    let mut pairs = Pairs::new();
    let mut add = |name: &str, value: String| {
        if !value.is_empty() {
            pairs.push((name.to_owned(), value));
        }
    };
    if let Some(login) = login {
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        add("user", decode(user)?);
        add("password", decode(password)?);
    }
    let (hosts, database) = place.split_once('/').unwrap_or((place, ""));
    if !hosts.is_empty() {
        let hosts = hosts.split(',').map(host_and_port).collect::<Result<Vec<_>, _>>()?;
        add("host", decode(&hosts.iter().map(|(host, _)| *host).collect::<Vec<_>>().join(","))?);
        if hosts.iter().any(|(_, port)| !port.is_empty()) {
            add("port", hosts.iter().map(|(_, port)| *port).collect::<Vec<_>>().join(","));
        }
    }
    add("dbname", decode(database)?);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or(AddressError::Unencoded)?;
        pairs.push((decode(name)?, decode(value)?));
    }
    Ok(pairs)
}

/// Splits `host:port` or `[address]:port`. A port that is not a number is the end of a password.
fn host_and_port(text: &str) -> Result<(&str, &str), AddressError> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, ""),
        Some((host, rest)) => (host, rest.strip_prefix(':').ok_or(AddressError::Unencoded)?),
        None => text.split_once(':').unwrap_or((text, "")),
    };
    if port.bytes().all(|byte| byte.is_ascii_digit()) { Ok((host, port)) } else { Err(AddressError::Unencoded) }
}

fn decode(text: &str) -> Result<String, AddressError> {
    let is_encoded = |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    if !text.split('%').skip(1).all(is_encoded) {
        return Err(AddressError::Unencoded);
    }
    match percent_decode_str(text).decode_utf8() {
        Ok(text) if !text.contains('\0') => Ok(text.into_owned()),
        _ => Err(AddressError::Unencoded),
    }
}

/// The parameters of `name=value name='a value'`. A backslash escapes the next character.
fn of_list(list: &str) -> Result<Pairs, AddressError> {
    let mut pairs = Pairs::new();
    let mut rest = list.trim_start();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').ok_or(AddressError::Form)?;
        let name = name.trim_end();
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(AddressError::Form);
        }
        let (value, after) = value_of_list(after.trim_start())?;
        pairs.push((name.to_owned(), value));
        rest = after.trim_start();
    }
    Ok(pairs)
}

/// Returns the first value, and the text after it.
fn value_of_list(text: &str) -> Result<(String, &str), AddressError> {
    let quoted = text.strip_prefix('\'');
    let mut value = String::new();
    let mut rest = quoted.unwrap_or(text).chars();
    loop {
        let before = rest.as_str();
        match rest.next() {
            Some('\\') => value.extend(rest.next()),
            Some('\'') if quoted.is_some() => return Ok((value, rest.as_str())),
            Some(character) if quoted.is_none() && character.is_whitespace() => return Ok((value, before)),
            Some('\0') => return Err(AddressError::Form),
            Some(character) => value.push(character),
            None if quoted.is_some() => return Err(AddressError::Form),
            None => return Ok((value, "")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(address: &str) -> String {
        let pairs = pairs(address).unwrap_or_else(|e| panic!("{address}: {e}"));
        pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn an_address_has_the_parameters_of_its_parts() {
        for (address, expected) in [
            ("postgres://", ""),
            ("postgres:///app", "dbname=app"),
            ("postgres://h", "host=h"),
            ("postgresql://ann@h/app", "user=ann host=h dbname=app"),
            (
                "postgres://ann:p%40ss%2Fword%231@h:5433/app",
                "user=ann password=p@ss/word#1 host=h port=5433 dbname=app",
            ),
            ("postgres://ann:a:b@h", "user=ann password=a:b host=h"),
            ("postgres://h1:1,h2,[::1]:3/app", "host=h1,h2,::1 port=1,,3 dbname=app"),
            ("postgres://ann@%2Frun%2Fpostgresql/app", "user=ann host=/run/postgresql dbname=app"),
            ("postgres:///app?host=/run&user=a@b", "dbname=app host=/run user=a@b"),
            ("postgres://h/app?sslmode=require&pgbouncer=true", "host=h dbname=app sslmode=require pgbouncer=true"),
            ("host=h user = ann password='a \\' b' dbname=", "host=h user=ann password=a ' b dbname="),
            ("", ""),
        ] {
            assert_eq!(text(address), expected, "{address}");
        }
    }

    #[test]
    fn an_unencoded_password_gets_an_error_that_says_so_and_does_not_show_it() {
        for password in
            ["p@ss/word#1", "p@ss", "p/ss@", "p#ss", "p?ss", "p?s=1", "12?x", "50%", "%zz", "a@b@c", "a/b:c#d"]
        {
            let address = format!("postgres://ann:{password}@h/app");
            let error = pairs(&address).expect_err(&address);
            assert!(matches!(error, AddressError::Unencoded), "{address}: {error:?}");
            assert!(error.to_string().contains("`%40` for `@`"));
            assert!(!format!("{error} {error:?}").contains(password));
        }
    }

    #[test]
    fn another_form_is_refused() {
        for address in ["enroll.db", "user", "host=h 'x", "host='h", "=h", "a b=c"] {
            assert!(matches!(pairs(address), Err(AddressError::Form)), "{address}");
        }
    }
}
