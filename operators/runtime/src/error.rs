//! What an error means for the next try. The class, not the message, decides when an object is looked at
//! again and is the only thing that reaches a metric label.

/// The kinds of failure that are handled differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
pub enum ErrorClass {
    /// Likely gone by itself: network, overload, quota, missing permission. Back off and retry.
    Transient,
    /// The world is not what the plan was made for. Read again at once; after three times, as `Transient`.
    Conflict,
    /// The request can never succeed as it is. Wait for the object to change and show the message.
    Invalid,
    /// Someone newer is in charge: another leader, a newer generation. Stop, write nothing more.
    Fenced,
    /// Ours to fix. Retry rarely and be loud.
    Bug,
}

impl ErrorClass {
    /// Name for metric labels, event reasons and logs.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The class of a failed API call.
///
/// Two choices are not obvious. 403 is `Transient`, because permissions, quotas and terminating namespaces
/// are mended without the object changing, so waiting for it to change would wait for ever. 404 on a write is
/// `Conflict`: what we write to or into went away after we had looked.
pub fn classify(error: &kube::Error) -> ErrorClass {
    use kube::Error;
    match error {
        Error::Api(status) => classify_code(status.code),
        Error::SerdeError(_)
        | Error::FromUtf8(_)
        | Error::HttpError(_)
        | Error::BuildRequest(_)
        | Error::LinesCodecMaxLineLengthExceeded => ErrorClass::Bug,
        _ => ErrorClass::Transient,
    }
}

fn classify_code(code: u16) -> ErrorClass {
    match code {
        404 | 409 | 410 | 412 => ErrorClass::Conflict,
        400 | 413 | 422 => ErrorClass::Invalid,
        405 | 406 | 415 => ErrorClass::Bug,
        _ => ErrorClass::Transient,
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::conflict(409, ErrorClass::Conflict)]
    #[case::vanished(404, ErrorClass::Conflict)]
    #[case::expired_version(410, ErrorClass::Conflict)]
    #[case::rejected_by_schema(422, ErrorClass::Invalid)]
    #[case::unknown_field(400, ErrorClass::Invalid)]
    #[case::too_large(413, ErrorClass::Invalid)]
    #[case::forbidden(403, ErrorClass::Transient)]
    #[case::unauthorized(401, ErrorClass::Transient)]
    #[case::throttled(429, ErrorClass::Transient)]
    #[case::server_error(500, ErrorClass::Transient)]
    #[case::timeout(504, ErrorClass::Transient)]
    #[case::wrong_media_type(415, ErrorClass::Bug)]
    fn answers_of_the_server(#[case] code: u16, #[case] class: ErrorClass) {
        let status = Status::failure("message", "reason").with_code(code);
        assert_eq!(classify(&kube::Error::Api(status.boxed())), class);
    }

    #[test]
    fn a_broken_connection_is_transient() {
        assert_eq!(
            classify(&kube::Error::Service("reset".into())),
            ErrorClass::Transient
        );
        assert_eq!(ErrorClass::Transient.as_str(), "Transient");
    }
}
