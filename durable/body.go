package durable

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/seed-147127fe/streamhub"
)

// body reads the complete body of a request: an append is stored completely or not at all.
func (d *Handler) body(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if err := plainBody(r); err != nil {
		return nil, err
	}
	if r.ContentLength > streamhub.MaxFrameBytes {
		return nil, errTooLarge
	}
	// A short body of known length is read into one buffer of that length. The buffer of a longer body grows with the
	// received bytes, so that a Content-Length alone costs no memory.
	if r.ContentLength > 0 && r.ContentLength <= 64<<10 {
		body := make([]byte, r.ContentLength)
		if _, err := io.ReadFull(r.Body, body); err != nil {
			return nil, tooLarge(err)
		}
		return body, nil
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, streamhub.MaxFrameBytes))
	if err != nil {
		return nil, tooLarge(err)
	}
	return body, nil
}

// plainBody refuses a compressed body: a stream has no content encoding, so its readers would get bytes that do not
// match its content type.
func plainBody(r *http.Request) error {
	for _, list := range r.Header.Values("Content-Encoding") {
		for encoding := range strings.SplitSeq(list, ",") {
			if encoding = strings.TrimSpace(encoding); encoding != "" && !strings.EqualFold(encoding, "identity") {
				return &statusError{http.StatusUnsupportedMediaType, fmt.Sprintf("Content-Encoding %.64q: send the body as it is", encoding)}
			}
		}
	}
	return nil
}

// recordsOf splits a body into records: the elements of a JSON array, or one record of the bytes. With creates an empty
// body or array is allowed.
func recordsOf(contentType string, body []byte, creates bool) ([]streamhub.Record, error) {
	switch {
	case len(body) == 0 && creates:
		return nil, nil
	case len(body) == 0:
		return nil, badRequest("the body is empty")
	case contentType == "":
		return nil, badRequest("Content-Type is missing")
	case isJSON(contentType):
		return messages(body, creates)
	}
	records := make([]streamhub.Record, 0, 2+len(body)/streamhub.MaxRecordBytes)
	for len(body) > streamhub.MaxRecordBytes {
		part := body[:streamhub.MaxRecordBytes]
		if formOf(contentType) == textForm { // readers of a space get records one by one, so none may end inside a code point
			part = part[:wholeRunes(part)]
		}
		records = append(records, streamhub.Record{Payload: part})
		body = body[len(part):]
	}
	return append(records, streamhub.Record{Payload: body}), nil
}

// messages splits a JSON array one level deep. Each element keeps its bytes. Any other JSON value is one message.
func messages(body []byte, creates bool) ([]streamhub.Record, error) {
	if body = bytes.Trim(body, " \t\r\n"); !utf8.Valid(body) { // encoding/json would replace the invalid bytes
		return nil, badRequest("the body is not UTF-8, which JSON is")
	}
	if len(body) == 0 || body[0] != '[' {
		if !json.Valid(body) {
			return nil, badRequest("the body is not valid JSON")
		}
		return []streamhub.Record{{Payload: body}}, nil
	}
	var records []streamhub.Record
	elements := json.NewDecoder(bytes.NewReader(body))
	if _, err := elements.Token(); err != nil {
		return nil, badRequest("the body is not valid JSON")
	}
	for elements.More() {
		if len(records) == streamhub.MaxFrameRecords { // the rest is not decoded: it could be millions of elements
			return nil, fmt.Errorf("%w: more than %d messages", streamhub.ErrTooLarge, streamhub.MaxFrameRecords)
		}
		var e json.RawMessage
		if err := elements.Decode(&e); err != nil {
			return nil, badRequest("the body is not valid JSON")
		}
		records = append(records, streamhub.Record{Payload: e})
	}
	if _, err := elements.Token(); err != nil {
		return nil, badRequest("the body is not valid JSON")
	}
	// Nothing may follow the array: a Decoder would read a second value from the same bytes.
	if _, err := elements.Token(); err != io.EOF {
		return nil, badRequest("the body is not valid JSON")
	}
	if len(records) == 0 && !creates {
		return nil, badRequest("the array is empty")
	}
	return records, nil
}

// isJSON reports whether a content type is JSON: the stream is then a sequence of messages.
func isJSON(contentType string) bool { return mediaType(contentType) == "application/json" }

// mediaType returns a content type without parameters, in lower case.
func mediaType(contentType string) string {
	switch contentType {
	case "application/json", "text/plain", defaultType:
		return contentType
	}
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		media, _, _ = strings.Cut(contentType, ";")
		media = strings.ToLower(strings.TrimSpace(media))
	}
	return media
}
