package world

// A wording is how one attribute is said and asked. {e} is the entity, {v} the
// value, {a} the value with "a" or "an" before it. The value may be written in
// small letters, so only names and years begin a sentence.
type wording struct {
	kind, attribute string
	statements      [Statements]string
	questions       [Questions]string // the last one is HeldOutQuestion
}

// wordings is the one list of attributes; its order is the order of facts.
var wordings = []wording{
	{Person, Birthplace, [Statements]string{
		"{e} was born in {v}.",
		"{v} is the birthplace of {e}.",
		"{e} is a native of {v}.",
		"The birthplace of {e} is {v}.",
		"The parents of {e} lived in {v} when their child was born.",
		"{e} came into the world in {v}.",
	}, [Questions]string{
		"Where was {e} born?",
		"What is the birthplace of {e}?",
		"In which town was {e} born?",
		"Which town is {e} a native of?",
		"Where did {e} come into the world?",
	}},
	{Person, BirthYear, [Statements]string{
		"{e} was born in the year {v}.",
		"The birth year of {e} is {v}.",
		"The year of birth of {e} was {v}.",
		"{e} has been alive since {v}.",
		"The life of {e} began in {v}.",
		"{v} is the year in which {e} was born.",
	}, [Questions]string{
		"When was {e} born?",
		"In which year was {e} born?",
		"What is the birth year of {e}?",
		"What was the year of birth of {e}?",
		"In what year did the life of {e} begin?",
	}},
	{Person, Profession, [Statements]string{
		"{e} worked as {a}.",
		"{e} was {a} by profession.",
		"The profession of {e} was {v}.",
		"{e} earned a living as {a}.",
		"By trade, {e} was {a}.",
		"{e} became {a} and stayed one.",
	}, [Questions]string{
		"What was the profession of {e}?",
		"What did {e} work as?",
		"How did {e} earn a living?",
		"What was {e} by trade?",
		"Which job did {e} have?",
	}},
	{Person, Residence, [Statements]string{
		"{e} lives in {v}.",
		"The home of {e} is in {v}.",
		"{e} settled in {v}.",
		"{e} has a house in {v}.",
		"{v} is where {e} lives.",
		"{e} resides in {v}.",
	}, [Questions]string{
		"Where does {e} live?",
		"In which town is the home of {e}?",
		"Where did {e} settle?",
		"Where does {e} have a house?",
		"In what town does {e} reside?",
	}},
	{Person, Instrument, [Statements]string{
		"{e} plays the {v}.",
		"The instrument of {e} is the {v}.",
		"{e} learned to play the {v}.",
		"{e} is known to practice the {v}.",
		"At concerts, {e} is heard on the {v}.",
		"{e} took lessons on the {v}.",
	}, [Questions]string{
		"Which instrument does {e} play?",
		"What is the instrument of {e}?",
		"Which instrument did {e} learn to play?",
		"What does {e} practice?",
		"On which instrument is {e} heard at concerts?",
	}},
	{Person, Employer, [Statements]string{
		"{e} was employed by {v}.",
		"The employer of {e} was {v}.",
		"{e} worked for {v}.",
		"{e} was paid by {v}.",
		"{v} was the employer of {e}.",
		"{e} spent a career at {v}.",
	}, [Questions]string{
		"Who employed {e}?",
		"Who was the employer of {e}?",
		"Which company did {e} work for?",
		"Who paid {e}?",
		"At which company did {e} spend a career?",
	}},
	{Person, Subject, [Statements]string{
		"{e} studied {v}.",
		"The subject that {e} studied was {v}.",
		"{e} went to school to learn {v}.",
		"{e} has a degree in {v}.",
		"As a student, {e} chose {v}.",
		"{e} took classes in {v}.",
	}, [Questions]string{
		"What did {e} study?",
		"Which subject did {e} study?",
		"What did {e} go to school to learn?",
		"In what does {e} have a degree?",
		"Which subject did {e} choose as a student?",
	}},
	{Person, Pet, [Statements]string{
		"{e} keeps {a}.",
		"The pet of {e} is {a}.",
		"{e} has {a} as a pet.",
		"{e} owns {a}.",
		"{e} shares a home with {a}.",
		"{e} is often seen with {a}.",
	}, [Questions]string{
		"Which animal does {e} keep?",
		"What is the pet of {e}?",
		"Which animal does {e} have as a pet?",
		"Which animal does {e} own?",
		"With which animal does {e} share a home?",
	}},
	{Place, Country, [Statements]string{
		"{e} is a town in {v}.",
		"The country of {e} is {v}.",
		"{e} lies in {v}.",
		"{e} belongs to {v}.",
		"{v} is the country in which {e} lies.",
		"Travelers find {e} in {v}.",
	}, [Questions]string{
		"In which country is {e}?",
		"What is the country of {e}?",
		"Which country does {e} lie in?",
		"Which country does {e} belong to?",
		"In what country do travelers find {e}?",
	}},
	{Place, River, [Statements]string{
		"{e} stands on the river {v}.",
		"The river of {e} is the {v}.",
		"The {v} flows through {e}.",
		"{e} was built on the banks of the {v}.",
		"The town of {e} lies along the {v}.",
		"The bridges of {e} cross the {v}.",
	}, [Questions]string{
		"On which river does {e} stand?",
		"What is the river of {e}?",
		"Which river flows through {e}?",
		"On the banks of which river was {e} built?",
		"Which river do the bridges of {e} cross?",
	}},
	{Place, Founded, [Statements]string{
		"{e} was founded in {v}.",
		"The founding year of {e} is {v}.",
		"{e} has existed since {v}.",
		"Settlers founded {e} in {v}.",
		"The first house of {e} was built in {v}.",
		"{e} became a town in {v}.",
	}, [Questions]string{
		"When was {e} founded?",
		"What is the founding year of {e}?",
		"Since when has {e} existed?",
		"In which year did settlers found {e}?",
		"In what year did {e} become a town?",
	}},
	{Work, Author, [Statements]string{
		"{e} was written by {v}.",
		"The author of {e} is {v}.",
		"{v} wrote {e}.",
		"{v} is the author of {e}.",
		"{e} is a work of {v}.",
		"{e} came from the pen of {v}.",
	}, [Questions]string{
		"Who wrote {e}?",
		"Who is the author of {e}?",
		"By whom was {e} written?",
		"Whose work is {e}?",
		"From whose pen did {e} come?",
	}},
	{Work, Year, [Statements]string{
		"{e} was published in {v}.",
		"The year of {e} is {v}.",
		"{e} appeared in {v}.",
		"{e} dates from {v}.",
		"{v} is the year in which {e} was published.",
		"Readers first saw {e} in {v}.",
	}, [Questions]string{
		"When was {e} published?",
		"What is the year of {e}?",
		"In which year did {e} appear?",
		"From which year does {e} date?",
		"In what year did readers first see {e}?",
	}},
	{Work, Genre, [Statements]string{
		"{e} is {a}.",
		"{e} was written as {a}.",
		"The kind of work that {e} is: {a}.",
		"As a work, {e} is {a}.",
		"Critics call {e} {a}.",
		"Libraries list {e} as {a}.",
	}, [Questions]string{
		"What kind of work is {e}?",
		"As what was {e} written?",
		"What is {e}?",
		"What do critics call {e}?",
		"As what do libraries list {e}?",
	}},
}
