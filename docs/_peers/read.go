package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

func float(s string) float64 {
	v, _ := strconv.ParseFloat(s, 64)
	return v
}

// lastLine finds the last line of an output that is a JSON object.
func lastLine(o output, v any) error {
	lines := strings.Split(strings.TrimSpace(o.text), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if strings.HasPrefix(lines[i], "{") {
			return json.Unmarshal([]byte(lines[i]), v)
		}
	}
	return fmt.Errorf("no result: %s", o.all)
}

// readLine reads what meft bench train, torch_peer.py and gomlx_train print.
func readLine(o output) (values, error) {
	var r struct {
		TokS   float64 `json:"tok_s"`
		GFlops float64 `json:"gflops"`
		RSS    float64 `json:"rss_mib"`
	}
	if err := lastLine(o, &r); err != nil {
		return nil, err
	}
	v := values{"tok/s": r.TokS}
	if r.TokS <= 0 {
		return nil, fmt.Errorf("no speed: %s", o.all)
	}
	if r.GFlops > 0 {
		v["GFLOP/s"] = r.GFlops
	}
	if r.RSS > 0 {
		v["rss"] = r.RSS
	}
	return v, nil
}

// readGeneration reads meft bench generate with one sequence.
func readGeneration(o output) (values, error) {
	var r struct {
		RSS  float64 `json:"rss_mib"`
		Rows []struct {
			Prompt float64 `json:"prompt_tok_s"`
			Decode float64 `json:"decode_tok_s"`
		} `json:"rows"`
	}
	if err := lastLine(o, &r); err != nil {
		return nil, err
	}
	if len(r.Rows) != 1 {
		return nil, fmt.Errorf("%d rows: %s", len(r.Rows), o.all)
	}
	return values{"prompt tok/s": r.Rows[0].Prompt, "generated tok/s": r.Rows[0].Decode, "rss": r.RSS}, nil
}

// readKernels reads meft bench kernels: the mean speed of the products by op,
// and the products.
func readKernels(o output) (values, []product, error) {
	var r struct {
		Kernels []struct {
			Op     string  `json:"op"`
			Sizes  string  `json:"sizes"`
			GFlops float64 `json:"gflops"`
		} `json:"kernels"`
	}
	if err := lastLine(o, &r); err != nil {
		return nil, nil, err
	}
	by, v := map[string][]float64{}, values{}
	var list []product
	for _, k := range r.Kernels {
		op, found := strings.CutPrefix(k.Op, "matmul ")
		var p product
		if _, err := fmt.Sscanf(k.Sizes, "%dx%dx%d", &p.m, &p.k, &p.n); !found || k.GFlops == 0 || err != nil {
			continue // not a product, or one of few rows
		}
		p.op = op
		list, by[op] = append(list, p), append(by[op], k.GFlops)
	}
	for op, speeds := range by {
		v[op] = geometric(speeds)
	}
	if len(list) == 0 {
		return nil, nil, fmt.Errorf("no products: %s", o.all)
	}
	return v, list, nil
}

// readLlamaBench reads llama-bench -o json.
func readLlamaBench(o output) (values, error) {
	at := strings.Index(o.text, "[")
	if at < 0 {
		return nil, fmt.Errorf("no result: %s", o.all)
	}
	var rows []struct {
		Prompt  int       `json:"n_prompt"`
		Samples []float64 `json:"samples_ts"`
	}
	if err := json.Unmarshal([]byte(o.text[at:]), &rows); err != nil {
		return nil, err
	}
	v := values{}
	for _, r := range rows {
		name := "generated tok/s"
		if r.Prompt > 0 {
			name = "prompt tok/s"
		}
		if len(r.Samples) > 0 {
			v[name] = median(r.Samples)
		}
	}
	if len(v) == 0 {
		return nil, fmt.Errorf("no speeds: %s", o.all)
	}
	return v, nil
}

// readSteps reads the speed from when steps of so many tokens ended; the first
// skip marks are warm-up.
func readSteps(tokens, skip int) func(output) (values, error) {
	return func(o output) (values, error) {
		var took []float64
		for i := skip; i < len(o.stamps); i++ {
			took = append(took, o.stamps[i].at.Sub(o.stamps[i-1].at).Seconds())
		}
		if len(took) < 2 {
			return nil, fmt.Errorf("%d steps: %s", len(took), o.all)
		}
		return values{"tok/s": float64(tokens) / median(took)}, nil
	}
}

// readLLMC reads the times train_gpt2 prints for steps of 4 rows of 64.
func readLLMC(o output) (values, error) {
	var took []float64
	for _, s := range o.stamps {
		t := float(s.match[1])
		if s.match[2] == "s" {
			t *= 1000
		}
		took = append(took, t)
	}
	if len(took) < 3 {
		return nil, fmt.Errorf("%d steps: %s", len(took), o.all)
	}
	speed := 256e3 / median(took[1:])
	return values{"tok/s": speed, "GFLOP/s": gpt2Flops * speed / 1e9}, nil
}
