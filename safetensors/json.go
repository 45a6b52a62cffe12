package safetensors

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// maxDims bounds the rank of a tensor. Real ones have at most 5 dimensions; the
// bound keeps a hostile header from growing 2 bytes of text into 8 of memory.
const maxDims = 64

// newDecoder returns a decoder over text that keeps numbers as written, since
// float64 would round offsets above 2⁵³.
func newDecoder(text []byte) *json.Decoder {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	return dec
}

// token reads the next token. The end of the text is an error here: every
// caller is inside an open object or list.
func token(dec *json.Decoder) (json.Token, error) {
	tok, err := dec.Token()
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, errors.New("JSON ends early")
	}
	if err != nil {
		return nil, fmt.Errorf("not valid JSON near byte %d: %w", dec.InputOffset(), err)
	}
	return tok, nil
}

// object reads one JSON object and calls each with every key, the decoder
// standing at its value. Keys are handed on as they come, repeated ones too,
// which a map would hide.
func object(dec *json.Decoder, what string, each func(key string) error) error {
	tok, err := token(dec)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if tok != json.Delim('{') {
		return fmt.Errorf("%s is %s, wanted an object", what, describe(tok))
	}
	for {
		tok, err := token(dec)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		key, ok := tok.(string)
		if !ok { // only the closing brace: the decoder refuses other keys
			return nil
		}
		if err := each(key); err != nil {
			return err
		}
	}
}

// text reads one JSON string.
func text(dec *json.Decoder, what string) (string, error) {
	tok, err := token(dec)
	if err != nil {
		return "", fmt.Errorf("%s: %w", what, err)
	}
	s, ok := tok.(string)
	if !ok {
		return "", fmt.Errorf("%s is %s, wanted a string", what, describe(tok))
	}
	return s, nil
}

// integers reads one JSON list of at most most whole numbers.
func integers(dec *json.Decoder, what string, most int) ([]int64, error) {
	tok, err := token(dec)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if tok != json.Delim('[') {
		return nil, fmt.Errorf("%s is %s, wanted a list", what, describe(tok))
	}
	var list []int64
	for {
		tok, err := token(dec)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		if tok == json.Delim(']') {
			return list, nil
		}
		num, ok := tok.(json.Number)
		if !ok {
			return nil, fmt.Errorf("%s holds %s, wanted whole numbers", what, describe(tok))
		}
		v, err := strconv.ParseInt(num.String(), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s holds %s, wanted whole numbers below 2^63", what, clip(num.String()))
		}
		if len(list) == most {
			return nil, fmt.Errorf("%s has more than %d numbers", what, most)
		}
		list = append(list, v)
	}
}

// atEnd reports text after the outermost object.
func atEnd(dec *json.Decoder) error {
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("text after the JSON object near byte %d", dec.InputOffset())
	}
	return nil
}

// describe names a token for an error message.
func describe(tok json.Token) string {
	switch v := tok.(type) {
	case nil:
		return "null"
	case json.Delim:
		if v == '{' {
			return "an object"
		}
		return "a list"
	case string:
		return "the string " + strconv.Quote(clip(v))
	case json.Number:
		return "the number " + clip(v.String())
	default:
		return fmt.Sprint(v)
	}
}

// clip shortens text from a file for an error message.
func clip(s string) string {
	const most = 200
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
