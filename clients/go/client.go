package testcast

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	// maxAnswerBytes is more than a page of a thousand of the largest events.
	maxAnswerBytes = 96 << 20
	// answerTimeout is for a request that does not wait for events. "ahead" alone takes an edge 2 s.
	answerTimeout = 30 * time.Second
	userAgent     = "testcast-go"
)

var testIDForm = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// Options of a [Client].
type Options struct {
	// Token returns the proof of who asks, for an edge with access control. It is called before each request, and once
	// more when the edge refuses what it has returned. nil: the client is anonymous.
	Token func(context.Context) (string, error)
	// HTTP sends the requests. It must have no Timeout, since streams stay open, and should follow no redirect, which
	// would take the token elsewhere. nil: a client of this package.
	HTTP *http.Client
}

// Client asks one edge. It holds no connection of its own, and is never closed.
type Client struct {
	edge    string
	options Options
	http    *http.Client
}

// New returns a client of the edge at this address, like "https://tests.example.org" or one with a path behind a proxy.
// It connects to nothing yet.
func New(edge string, options Options) (*Client, error) {
	address, err := url.Parse(edge)
	if err != nil {
		return nil, fmt.Errorf("testcast: the edge's address: %w", err)
	}
	if (address.Scheme != "http" && address.Scheme != "https") || address.Host == "" {
		return nil, fmt.Errorf("testcast: %q is no edge's address: expected http://… or https://…", edge)
	}
	if address.User != nil || address.RawQuery != "" || address.Fragment != "" {
		return nil, errors.New("testcast: an edge's address has no user, no query and no fragment")
	}
	client := &Client{edge: strings.TrimRight(address.String(), "/"), options: options, http: options.HTTP}
	if client.http == nil {
		client.http = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	return client, nil
}

// Edge returns the address of the edge, without a slash at its end.
func (c *Client) Edge() string { return c.edge }

// ParseTestID returns the id in lower case, or an error where it is none.
func ParseTestID(text string) (string, error) {
	id := strings.ToLower(strings.TrimSpace(text))
	if !testIDForm.MatchString(id) {
		return "", fmt.Errorf("testcast: %.80q is no test id: expected a UUID", text)
	}
	return id, nil
}

// Call calls a method of the edge's RPC (broker/PROTOCOL.md) once. params becomes its JSON object, nil none; the answer
// is decoded into result, unless that is nil. An edge's refusal is an [*APIError].
func (c *Client) Call(ctx context.Context, method string, params, result any) error {
	body := []byte("{}")
	if params != nil {
		var err error
		if body, err = json.Marshal(params); err != nil {
			return fmt.Errorf("testcast: the parameters of %s: %w", method, err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	answer, err := c.send(ctx, http.MethodPost, "/rpc/"+method, http.Header{"Content-Type": {"application/json"}}, body)
	if err != nil {
		return err
	}
	return decode(answer, result)
}

// GetTest returns the state of a run.
func (c *Client) GetTest(ctx context.Context, testID string) (*Snapshot, error) {
	var answer struct {
		Test *Snapshot `json:"test"`
	}
	if err := c.Call(ctx, "getTest", map[string]string{"testId": testID}, &answer); err != nil {
		return nil, err
	}
	if answer.Test == nil {
		return nil, &APIError{Status: http.StatusOK, Code: "bad_answer", Message: "an answer to getTest without a test"}
	}
	return answer.Test, nil
}

// GetEvents returns the events of a run after a position, at most limit (1 to 1,000; 0: 500), with the outcome of the
// resume. Ask again from {page.Epoch, page.After} while page.More.
func (c *Client) GetEvents(ctx context.Context, testID string, after Position, limit int) (*Page, error) {
	params := map[string]any{"testId": testID}
	if after.Seq > 0 {
		params["after"] = after.Seq
		if after.Epoch != "" {
			params["epoch"] = after.Epoch
		}
	}
	if limit > 0 {
		params["limit"] = limit
	}
	page := &Page{}
	if err := c.Call(ctx, "getEvents", params, page); err != nil {
		return nil, err
	}
	page.TestID = testID
	page.After = page.Head // of the RPC: the position after the page
	return page, nil
}

// waitForEvents is one long poll: it returns when there is something after the position, or after `wait`.
func (c *Client) waitForEvents(ctx context.Context, testID string, after Position, wait time.Duration) (*Page, error) {
	query := url.Values{"wait": {strconv.Itoa(int(wait.Seconds()))}}
	addPosition(query, after)
	ctx, cancel := context.WithTimeout(ctx, wait+answerTimeout)
	defer cancel()
	header := http.Header{"Accept": {"application/json"}}
	answer, err := c.send(ctx, http.MethodGet, "/tests/"+testID+"/events?"+query.Encode(), header, nil)
	if err != nil {
		return nil, err
	}
	if kind := answer.Header.Get("Content-Type"); answer.StatusCode == http.StatusOK && !strings.HasPrefix(kind, "application/json") {
		_ = answer.Body.Close()
		return nil, unsupported(answer)
	}
	page := &Page{}
	if err := decode(answer, page); err != nil {
		return nil, err
	}
	return page, nil
}

func addPosition(query url.Values, after Position) {
	if after.Seq > 0 {
		query.Set("after", strconv.FormatInt(after.Seq, 10))
		if after.Epoch != "" {
			query.Set("epoch", after.Epoch)
		}
	}
}

// send sends a request, with another token when the first is refused. The caller closes the body of the answer.
func (c *Client) send(ctx context.Context, verb, path string, header http.Header, body []byte) (*http.Response, error) {
	refused := ""
	for {
		request, err := http.NewRequestWithContext(ctx, verb, c.edge+path, bytes.NewReader(body))
		if err != nil {
			return nil, fmt.Errorf("testcast: %w", err)
		}
		if header != nil {
			request.Header = header.Clone()
		}
		request.Header.Set("User-Agent", userAgent)
		token, err := c.token(ctx)
		if err != nil {
			return nil, err
		}
		if token != "" {
			request.Header.Set("Authorization", "Bearer "+token)
		}
		answer, err := c.http.Do(request)
		if err != nil {
			return nil, err
		}
		if answer.StatusCode != http.StatusUnauthorized || token == "" || token == refused || refused != "" {
			return answer, nil
		}
		_ = answer.Body.Close()
		refused = token
	}
}

func (c *Client) token(ctx context.Context) (string, error) {
	if c.options.Token == nil {
		return "", nil
	}
	token, err := c.options.Token(ctx)
	if err != nil {
		return "", finalError{fmt.Errorf("testcast: no token: %w", err)}
	}
	return strings.TrimSpace(token), nil
}

// decode reads an answer to its end and closes it.
func decode(answer *http.Response, result any) error {
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswerBytes))
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return refusal(answer, body)
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(body, result); err != nil {
		return notTheProtocol(err)
	}
	return nil
}

// temporary says whether the same request may succeed later: the edge was not reached, or it says so itself.
func temporary(err error) bool {
	var refused *APIError
	if errors.As(err, &refused) {
		return refused.Temporary()
	}
	var final finalError
	return err != nil && !errors.As(err, &final)
}

// finalError is of the caller's own making: the next attempt would meet it, too.
type finalError struct{ error }

func (e finalError) Unwrap() error { return e.error }

// notSent says whether a request surely has done nothing: nobody was there to take it.
func notSent(err error) bool {
	var refused *APIError
	if errors.As(err, &refused) {
		return refused.Status == http.StatusTooManyRequests
	}
	var dial *net.OpError
	return errors.As(err, &dial) && dial.Op == "dial"
}
