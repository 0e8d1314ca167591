package testcast

import (
	"bufio"
	"errors"
	"io"
	"strings"
)

// maxMessageBytes is more than the largest snapshot (256 KiB) and event (64 KiB) of an edge: whatever sends a longer
// one is none.
const maxMessageBytes = 4 << 20

var errTooLong = errors.New("testcast: the stream has a message that is too long for one of an edge")

// sseMessage is one message of a stream of server-sent events.
type sseMessage struct {
	event string // "" is "message"
	data  string
}

// sseReader reads server-sent events, as the HTML standard describes them (9.2.6). The ids are not looked at: the
// position of an event is in its JSON.
type sseReader struct {
	from *bufio.Reader
	// alive is called for each line, also for comments.
	alive func()
	begun bool
	wasCR bool
}

func newSSEReader(from io.Reader, alive func()) *sseReader {
	return &sseReader{from: bufio.NewReaderSize(from, 32<<10), alive: alive}
}

// next returns the next message that has data. A message that is cut off by the end of the stream is dropped.
func (r *sseReader) next() (sseMessage, error) {
	var message sseMessage
	var data strings.Builder
	lines := 0
	for {
		line, err := r.line()
		if err != nil {
			return sseMessage{}, err
		}
		r.alive()
		if line == "" {
			if lines > 0 {
				message.data = data.String()
				return message, nil
			}
			message = sseMessage{}
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch name { // a comment has no name
		case "event":
			message.event = value
		case "data":
			if lines > 0 {
				data.WriteByte('\n')
			}
			data.WriteString(value)
			lines++
			if data.Len() > maxMessageBytes {
				return sseMessage{}, errTooLong
			}
		}
	}
}

// line returns the next line without its end, which is CR LF, LF or CR.
func (r *sseReader) line() (string, error) {
	var line []byte
	for {
		next, err := r.from.ReadByte()
		if err != nil {
			return "", err
		}
		if r.wasCR {
			r.wasCR = false
			if next == '\n' {
				continue
			}
		}
		switch next {
		case '\r', '\n':
			r.wasCR = next == '\r'
			text := string(line)
			if !r.begun {
				r.begun = true
				text = strings.TrimPrefix(text, "\ufeff")
			}
			return text, nil
		}
		if line = append(line, next); len(line) > maxMessageBytes {
			return "", errTooLong
		}
	}
}
