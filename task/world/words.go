package world

// The halves of invented names. No joined family name begins another, so a full
// name is never the beginning of a different full name.
const (
	givenStarts = "Tol Bren Cas Dov Eld Fenn Gar Hal Ist Jor Kel Lor Mav Nev Orr Per"
	givenEnds   = "an eth ia in o ara is en une ick amy ul eda yn oss"

	familyStarts = "Merr Ash Bol Corr Dun Ester Fal Grav Holl Ink Lang Mund Nor Pell Rusk Tarv"
	familyEnds   = "ick ard by combe dell en fax gate hurst ley mond ine quist stead ton"

	placeStarts = "Arven Bris Calder Dram Esk Gorm Glen Hest Ivel Kirn Lum Mard Nyth Oster Pram Quill Rath Sel Thorn Wend"
	placeEnds   = "port mere field haven bridge wick"

	employerStarts = "Corvane Ashmark Dunhale Ferrow Gildane Lantry Morvale Pendrake Stellan Tarnow"
	employerEnds   = "_Bank _Mills _Press _Works"
)

// The closed lists of single words, invented or plain English.
const (
	countries = "Valdoria Ostrania Kelmark Suvania Brelland Tirania Norrovia Amberia Ghestan Loriland Pelusia Wyrmark"

	rivers = `Ambel Brock Cherna Dovrin Elwin Froom Gally Hodra Irsk Jelva Kolm Leddon
		Moxa Nerra Ouzel Pryn Rillow Savel Tamsel Ulva Vosk Wharn Yarl Zell`

	professions = `baker barber blacksmith bookbinder botanist brewer bricklayer butcher butler carpenter
		cartographer chemist clerk clockmaker cobbler cook cooper dentist diver doctor
		editor engineer engraver farmer fisher florist gardener geologist glazier goldsmith
		grocer innkeeper jeweler judge lawyer librarian locksmith mason mechanic merchant
		midwife miller miner nurse optician painter pharmacist pilot plumber potter
		printer publisher roofer sailor sculptor shepherd surveyor tailor teacher weaver`

	instruments = `accordion bagpipe banjo bassoon bugle celesta cello clarinet clavichord concertina
		cornet dulcimer fiddle flute glockenspiel gong guitar harmonica harmonium harp
		horn kazoo lute lyre mandolin marimba oboe ocarina organ piano
		piccolo recorder saxophone sitar tambourine trombone trumpet tuba violin zither`

	subjects = `algebra anatomy archaeology astronomy biology botany calculus ceramics chemistry commerce
		cookery dance drama drawing ecology economics ethics forestry genetics geography
		geology geometry grammar history hygiene law linguistics logic medicine metallurgy
		meteorology music mythology navigation optics philosophy physics poetry rhetoric statistics`

	pets = `badger beaver canary cat cockatoo crow dog donkey duck falcon
		ferret fox frog gecko goat goose hamster hedgehog heron horse
		iguana lizard llama magpie mouse newt otter owl parrot pigeon
		pony rabbit raven sheep snail spaniel swan toad tortoise turkey`

	genres = "novel play poem opera essay memoir ballad fable satire comedy tragedy hymn"

	titleAdjectives = `Silver Golden Copper Iron Amber Crimson Scarlet White Black Green
		Broken Hidden Silent Restless Hollow Empty Crooked Narrow Endless Distant
		Ancient Second Final Patient Stubborn Gentle Bitter Burning Frozen Drifting
		Secret Borrowed Painted Wandering Sleeping Forgotten Faithful Lonely Rising Falling`

	titleNouns = `_Harbor _Lantern _Garden _Tower _Orchard _Mirror _Window _Letter _Bridge _River
		_Mountain _Island _Forest _Meadow _Desert _Candle _Compass _Anchor _Feather _Crown
		_Key _Door _Ladder _Wheel _Clock _Bell _Shadow _Winter _Summer _Autumn
		_Voyage _Promise _Stranger _Daughter _Soldier _Pilgrim _Beggar _Witness _Neighbor _Juggler`
)
